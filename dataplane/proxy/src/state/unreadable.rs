//! Workloads and services the control plane has told of and this proxy cannot read. What has no
//! resource is outside the mesh and reached in plaintext; so what cannot be read is kept, and its
//! addresses are refused, until it can be read or is withdrawn.
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses a resource keeps from versions before, at most: whatever comes under one name, it
/// costs so much memory.
const MAX_KEPT: usize = 1024;

/// An address a resource has, or had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub ip: IpAddr,
    /// None where it could not be read: any.
    pub network: Option<String>,
    /// Refused only where no resource that can be read has the address: it is the node's, or only
    /// a version before had it.
    pub yields: bool,
}

/// One such resource. Shown, it says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    name: String,
    reason: String,
    claims: Vec<Claim>,
    /// Whether these are all addresses it has.
    complete: bool,
}

impl Unreadable {
    pub fn new(name: &str, reason: String, claims: Vec<Claim>, complete: bool) -> Self {
        Self {
            name: name.to_owned(),
            reason,
            claims,
            complete,
        }
    }

    /// The resource's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Keeps the addresses of the version before, unless this one's are all known.
    #[must_use]
    pub fn after(mut self, before: impl IntoIterator<Item = Claim>) -> Self {
        if self.complete {
            return self;
        }
        let known: HashSet<_> = self.claims.iter().map(place).collect();
        let kept: Vec<_> = before
            .into_iter()
            .filter(|claim| !known.contains(&place(claim)))
            .map(|claim| Claim {
                yields: true,
                ..claim
            })
            .take(MAX_KEPT)
            .collect();
        self.claims.extend(kept);
        self
    }
}

fn place(claim: &Claim) -> (IpAddr, Option<String>) {
    (claim.ip, claim.network.clone())
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be read by this proxy: {}",
            self.name, self.reason
        )
    }
}

/// All of them, by name and by address.
#[derive(Default)]
pub struct UnreadableIndex {
    by_name: HashMap<String, Arc<Unreadable>>,
    by_ip: HashMap<IpAddr, Vec<Arc<Unreadable>>>,
}

impl UnreadableIndex {
    pub fn get(&self, name: &str) -> Option<&Arc<Unreadable>> {
        self.by_name.get(name)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Unreadable>> {
        self.by_name.values()
    }

    /// Who makes an address refused; `held` says whether something that can be read has it.
    pub fn at(
        &self,
        network: &str,
        ip: IpAddr,
        held: impl FnOnce() -> bool,
    ) -> Option<&Arc<Unreadable>> {
        // Mostly there is none, and nothing more to ask.
        let here = self.by_ip.get(&ip)?;
        let held = held();
        here.iter().find(|unreadable| {
            unreadable.claims.iter().any(|claim| {
                let of_network = claim.network.as_deref().is_none_or(|own| own == network);
                claim.ip == ip && of_network && !(claim.yields && held)
            })
        })
    }

    pub fn insert(&mut self, unreadable: Unreadable) {
        self.remove(&unreadable.name);
        let unreadable = Arc::new(unreadable);
        for ip in ips(&unreadable) {
            self.by_ip.entry(ip).or_default().push(unreadable.clone());
        }
        self.by_name.insert(unreadable.name.clone(), unreadable);
    }

    pub fn remove(&mut self, name: &str) {
        let Some(unreadable) = self.by_name.remove(name) else {
            return;
        };
        for ip in ips(&unreadable) {
            if let Some(here) = self.by_ip.get_mut(&ip) {
                here.retain(|other| !Arc::ptr_eq(other, &unreadable));
                if here.is_empty() {
                    self.by_ip.remove(&ip);
                }
            }
        }
    }
}

fn ips(unreadable: &Unreadable) -> HashSet<IpAddr> {
    unreadable.claims.iter().map(|claim| claim.ip).collect()
}
