//! The decision for one connection, as WIRE's evaluation rules say.
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::rule::{Action, Match, Policy, ServiceAccountMatch, StringMatch, Values};
use crate::spiffe::SpiffeId;

/// What policy may ask about.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The proven identity; none where the peer came in plaintext.
    pub source: Option<SpiffeId>,
    pub source_ip: IpAddr,
    pub destination_ip: IpAddr,
    pub destination_port: u16,
    /// Names of the policies that do not apply to it (docs/adr/0015).
    pub exempt_from: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

/// The effect, and what made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub effect: Effect,
    /// The policy that decided; none where nothing matched.
    pub policy: Option<String>,
    /// What it would have been, were the dry-run policies in force and it had been different.
    pub dry_run: Option<(Effect, Option<String>)>,
}

/// Evaluates `policies`, all of which apply to the destination workload.
pub fn evaluate(policies: &[Arc<Policy>], connection: &Connection) -> Decision {
    let asked = policies
        .iter()
        .filter(|policy| !connection.exempt_from.contains(&policy.name));
    let enforced = asked.clone().filter(|policy| !policy.dry_run);
    let (effect, policy) = decide(enforced, connection);
    let dry_run = asked
        .clone()
        .any(|policy| policy.dry_run)
        .then(|| decide(asked, connection))
        .filter(|(would, _)| *would != effect);
    Decision {
        effect,
        policy,
        dry_run,
    }
}

fn decide<'a>(
    policies: impl Iterator<Item = &'a Arc<Policy>> + Clone,
    connection: &Connection,
) -> (Effect, Option<String>) {
    let of = |action| {
        policies
            .clone()
            .filter(move |policy| policy.action == action)
    };
    let matching = |action| of(action).find(|policy| policy.matches(connection));
    if let Some(denying) = matching(Action::Deny) {
        return (Effect::Deny, Some(denying.name.clone()));
    }
    if of(Action::Allow).next().is_none() {
        return (Effect::Allow, None);
    }
    match matching(Action::Allow) {
        Some(allowing) => (Effect::Allow, Some(allowing.name.clone())),
        None => (Effect::Deny, None),
    }
}

impl Policy {
    fn matches(&self, connection: &Connection) -> bool {
        self.rules
            .iter()
            .any(|clauses| clauses.iter().all(|matches| met(matches, connection)))
    }
}

/// A clause without matches asks for nothing, and is met.
fn met(clause: &[Match], connection: &Connection) -> bool {
    clause.is_empty() || clause.iter().any(|m| m.fits(connection))
}

impl Match {
    /// A match that names no property fits nothing: it is a mistake, and must not open an ALLOW.
    fn fits(&self, connection: &Connection) -> bool {
        *self != Self::default() && self.properties_fit(connection)
    }

    fn properties_fit(&self, connection: &Connection) -> bool {
        let source = connection.source.as_ref();
        let principal = source.map(SpiffeId::principal);
        let kubernetes = source.and_then(SpiffeId::kubernetes);
        let namespace = kubernetes.map(|(namespace, _)| namespace);

        self.namespaces.fit(|wanted| wanted.fits(namespace))
            && self.principals.fit(|wanted| wanted.fits(principal))
            && self
                .source_ips
                .fit(|net: &IpNet| net.contains(&connection.source_ip))
            && self
                .destination_ips
                .fit(|net: &IpNet| net.contains(&connection.destination_ip))
            && self
                .destination_ports
                .fit(|port| *port == connection.destination_port)
            && self.service_accounts.fit(|wanted| wanted.fits(kubernetes))
    }
}

impl<T> Values<T> {
    fn fit(&self, fits: impl Fn(&T) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(&fits)) && !self.none.iter().any(&fits)
    }
}

impl StringMatch {
    /// A value that is not there fits nothing.
    fn fits(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Suffix(text) => value.ends_with(text.as_str()),
            Self::Presence => true,
        }
    }
}

impl ServiceAccountMatch {
    fn fits(&self, source: Option<(&str, &str)>) -> bool {
        source == Some((self.namespace.as_str(), self.service_account.as_str()))
    }
}

#[cfg(test)]
#[path = "evaluate_test.rs"]
mod tests;
