//! The indexes, and one consistent way to change and to read them.
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::unreadable::UnreadableIndex;
use super::{Claim, NetworkIp, Service, ServiceName, Unreadable, Workload};
use crate::policy::{Action, Policy, Scope};

/// One change, as a resource arrived or went.
#[derive(Debug)]
pub enum Change {
    Workload(Box<Workload>),
    Service(Box<Service>),
    /// A workload or service that has come and cannot be read.
    Unreadable(Unreadable),
    /// A workload or service of this resource name is gone.
    AddressGone(String),
    Policy(Box<Policy>),
    PolicyGone(String),
}

/// Everything known of the mesh. Only ever changed by [`MeshState::apply`].
#[derive(Default)]
pub struct Snapshot {
    workloads: HashMap<String, Arc<Workload>>,
    /// Uids by address, the newest last: an address may change hands before its old holder is withdrawn.
    by_ip: HashMap<NetworkIp, Vec<String>>,
    services: HashMap<ServiceName, Arc<Service>>,
    by_vip: HashMap<NetworkIp, ServiceName>,
    endpoints: HashMap<ServiceName, HashMap<String, Arc<Workload>>>,
    unreadable: UnreadableIndex,
    policies: HashMap<String, Arc<Policy>>,
    /// Names of policies for everybody (`None`) or for a namespace.
    policies_by_scope: HashMap<Option<String>, HashSet<String>>,
    decision_changes: u64,
}

impl Snapshot {
    pub fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// Who has an address of its own. That of a node, which its host-network workloads share, is none of them.
    pub fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.at(network, ip).find(|workload| !workload.host_network)
    }

    /// The node that has an address, as far as its host-network workloads tell.
    pub fn node_by_ip(&self, network: &str, ip: IpAddr) -> Option<&str> {
        let mut names = self.at(network, ip).map(|workload| workload.node.as_str());
        let name = names.next().filter(|name| !name.is_empty())?;
        (self.workload_by_ip(network, ip).is_none() && names.all(|other| other == name))
            .then_some(name)
    }

    /// Workloads with an address, the newest first.
    fn at(&self, network: &str, ip: IpAddr) -> impl Iterator<Item = &Arc<Workload>> {
        let uids = self.by_ip.get(&NetworkIp {
            network: network.to_owned(),
            ip,
        });
        let uids = uids.into_iter().flatten().rev();
        uids.filter_map(|uid| self.workloads.get(uid))
    }

    pub fn service_by_vip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Service>> {
        let name = self.by_vip.get(&NetworkIp {
            network: network.to_owned(),
            ip,
        })?;
        self.services.get(name)
    }

    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The workload or service of this name that cannot be read.
    pub fn unreadable(&self, name: &str) -> Option<&Arc<Unreadable>> {
        self.unreadable.get(name)
    }

    /// What has an address and cannot be read: nothing is known of who must not be reached there, or how.
    pub fn unreadable_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Unreadable>> {
        self.unreadable.at(network, ip, || {
            self.service_by_vip(network, ip).is_some() || self.at(network, ip).next().is_some()
        })
    }

    pub fn all_unreadable(&self) -> impl Iterator<Item = &Arc<Unreadable>> {
        self.unreadable.all()
    }

    /// The workloads behind a service, in no order.
    pub fn endpoints(&self, name: &ServiceName) -> impl Iterator<Item = &Arc<Workload>> {
        self.endpoints
            .get(name)
            .into_iter()
            .flat_map(HashMap::values)
    }

    /// The policies in force for a workload.
    ///
    /// # Errors
    /// The name of a policy the workload refers to that has not arrived.
    pub fn policies_for(&self, workload: &Workload) -> Result<Vec<Arc<Policy>>, String> {
        let scoped = self.scoped(&workload.namespace).cloned();
        let selecting = workload
            .policies
            .iter()
            .map(|name| self.policies.get(name).cloned().ok_or_else(|| name.clone()));
        scoped.map(Ok).chain(selecting).collect()
    }

    /// Those of the policies for `namespace`, and that `workload` names, that have come and deny.
    pub fn denials(&self, namespace: &str, workload: Option<&Workload>) -> Vec<Arc<Policy>> {
        let selecting = workload.into_iter().flat_map(|own| &own.policies);
        let selecting = selecting.filter_map(|name| self.policies.get(name));
        self.scoped(namespace)
            .chain(selecting)
            .filter(|policy| policy.action == Action::Deny)
            .cloned()
            .collect()
    }

    /// The policies for everybody and for a namespace.
    fn scoped(&self, namespace: &str) -> impl Iterator<Item = &Arc<Policy>> {
        [None, Some(namespace.to_owned())]
            .into_iter()
            .filter_map(|scope| self.policies_by_scope.get(&scope))
            .flatten()
            .filter_map(|name| self.policies.get(name))
    }

    /// Counts up with every change of a policy and of what cannot be read: of what may turn a
    /// effect although the destination's own resource stays as it is.
    pub fn decision_changes(&self) -> u64 {
        self.decision_changes
    }

    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Workload(workload) => self.insert_workload(*workload),
            Change::Service(service) => self.insert_service(*service),
            Change::Unreadable(unreadable) => self.insert_unreadable(unreadable),
            Change::AddressGone(name) => self.remove_address(&name),
            Change::Policy(policy) => self.insert_policy(*policy),
            Change::PolicyGone(name) => self.remove_policy(&name),
        }
    }

    fn insert_workload(&mut self, workload: Workload) {
        self.remove_address(&workload.uid);
        let workload = Arc::new(workload);
        for ip in addresses(&workload) {
            self.by_ip.entry(ip).or_default().push(workload.uid.clone());
        }
        for service in workload.services.keys() {
            let endpoints = self.endpoints.entry(service.clone()).or_default();
            endpoints.insert(workload.uid.clone(), workload.clone());
        }
        self.workloads.insert(workload.uid.clone(), workload);
    }

    fn remove_workload(&mut self, uid: &str) -> bool {
        let Some(workload) = self.workloads.remove(uid) else {
            return false;
        };
        for ip in addresses(&workload) {
            if let Some(holders) = self.by_ip.get_mut(&ip) {
                holders.retain(|holder| holder != uid);
                if holders.is_empty() {
                    self.by_ip.remove(&ip);
                }
            }
        }
        for service in workload.services.keys() {
            if let Some(endpoints) = self.endpoints.get_mut(service) {
                endpoints.remove(uid);
                if endpoints.is_empty() {
                    self.endpoints.remove(service);
                }
            }
        }
        true
    }

    fn insert_service(&mut self, service: Service) {
        self.remove_address(&service.id.to_string());
        for ip in &service.addresses {
            self.by_vip.insert(ip.clone(), service.id.clone());
        }
        self.services.insert(service.id.clone(), Arc::new(service));
    }

    fn remove_service(&mut self, name: &ServiceName) {
        let Some(service) = self.services.remove(name) else {
            return;
        };
        for ip in &service.addresses {
            // The address may already be another service's.
            if self.by_vip.get(ip) == Some(name) {
                self.by_vip.remove(ip);
            }
        }
    }

    /// In place of the version before, whose addresses it may still have.
    fn insert_unreadable(&mut self, unreadable: Unreadable) {
        self.decision_changes += 1;
        let name = unreadable.name().to_owned();
        let unreadable = unreadable.after(self.claims(&name));
        self.remove_address(&name);
        self.unreadable.insert(unreadable);
    }

    /// The addresses of a workload or service, readable or not.
    fn claims(&self, name: &str) -> Vec<Claim> {
        let claim = |NetworkIp { network, ip }: NetworkIp| Claim {
            ip,
            network: Some(network),
            yields: false,
        };
        if let Some(unreadable) = self.unreadable.get(name) {
            return unreadable.claims().to_vec();
        }
        if let Some(workload) = self.workloads.get(name) {
            return addresses(workload).map(claim).collect();
        }
        let service = ServiceName::parse(name).and_then(|name| self.services.get(&name));
        service.map_or_else(Vec::new, |service| {
            service.addresses.iter().cloned().map(claim).collect()
        })
    }

    fn remove_address(&mut self, name: &str) {
        self.unreadable.remove(name);
        if !self.remove_workload(name)
            && let Some(service) = ServiceName::parse(name)
        {
            self.remove_service(&service);
        }
    }

    fn insert_policy(&mut self, policy: Policy) {
        self.decision_changes += 1;
        self.remove_policy(&policy.name);
        if let Some(scope) = scope_key(&policy) {
            self.policies_by_scope
                .entry(scope)
                .or_default()
                .insert(policy.name.clone());
        }
        self.policies.insert(policy.name.clone(), Arc::new(policy));
    }

    fn remove_policy(&mut self, name: &str) {
        let Some(policy) = self.policies.remove(name) else {
            return;
        };
        self.decision_changes += 1;
        if let Some(scope) = scope_key(&policy)
            && let Some(names) = self.policies_by_scope.get_mut(&scope)
        {
            names.remove(name);
            if names.is_empty() {
                self.policies_by_scope.remove(&scope);
            }
        }
    }
}

fn addresses(workload: &Workload) -> impl Iterator<Item = NetworkIp> + '_ {
    workload.addresses.iter().map(|ip| NetworkIp {
        network: workload.network.clone(),
        ip: *ip,
    })
}

fn scope_key(policy: &Policy) -> Option<Option<String>> {
    match policy.scope {
        Scope::Global => Some(None),
        Scope::Namespace => Some(Some(policy.namespace.clone())),
        Scope::Selected => None,
    }
}

/// The shared state: many readers, one writer, and a bell for those who wait.
pub struct MeshState {
    snapshot: RwLock<Snapshot>,
    generation: watch::Sender<u64>,
}

impl Default for MeshState {
    fn default() -> Self {
        Self {
            snapshot: RwLock::default(),
            generation: watch::Sender::new(0),
        }
    }
}

impl MeshState {
    /// Reads; keep the guard short and never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes all at once, then rings.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        {
            let mut snapshot = self
                .snapshot
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                snapshot.apply(change);
            }
        }
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Counts up with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
