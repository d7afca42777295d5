//! Policies, parsed from the wire and checked once.
use std::net::IpAddr;

use ipnet::IpNet;
use tulle_wire::security as wire;

use crate::resource::{ResourceError, parse_ip, parse_port};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Global,
    Namespace,
    /// Only workloads that name the policy.
    Selected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `namespace/name`.
    pub name: String,
    pub namespace: String,
    pub scope: Scope,
    pub action: Action,
    pub dry_run: bool,
    /// Rules (any) of clauses (all) of matches (any).
    pub rules: Vec<Vec<Vec<Match>>>,
    /// Why the policy cannot be read; its rules then refuse whatever it covers.
    pub unreadable: Option<String>,
}

/// A comparison. Its text is literal: no character has a meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// Anything, as long as there is something.
    Presence,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    pub namespace: String,
    pub service_account: String,
}

/// Values wanted and values not wanted of one property of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<T> {
    pub any: Vec<T>,
    pub none: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            any: Vec::new(),
            none: Vec::new(),
        }
    }
}

/// All properties that are given must fit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Match {
    pub namespaces: Values<StringMatch>,
    pub principals: Values<StringMatch>,
    pub source_ips: Values<IpNet>,
    pub destination_ips: Values<IpNet>,
    pub destination_ports: Values<u16>,
    pub service_accounts: Values<ServiceAccountMatch>,
}

impl Policy {
    /// # Errors
    /// When any part is malformed or unknown: a policy understood by half would be another policy.
    pub fn parse(policy: wire::Authorization) -> Result<Self, ResourceError> {
        if policy.name.is_empty() {
            return Err(ResourceError::Empty { field: "name" });
        }
        let unknown = |field, value: i32| ResourceError::Unknown {
            field,
            value: value.into(),
        };
        if policy.namespace.is_empty() && policy.scope == i32::from(wire::Scope::Namespace) {
            // It would cover nothing.
            return Err(ResourceError::Empty { field: "namespace" });
        }
        Ok(Self {
            name: format!("{}/{}", policy.namespace, policy.name),
            scope: match wire::Scope::try_from(policy.scope) {
                Ok(wire::Scope::Global) => Scope::Global,
                Ok(wire::Scope::Namespace) => Scope::Namespace,
                Ok(wire::Scope::WorkloadSelector) => Scope::Selected,
                Err(_) => return Err(unknown("scope", policy.scope)),
            },
            action: match wire::Action::try_from(policy.action) {
                Ok(wire::Action::Allow) => Action::Allow,
                Ok(wire::Action::Deny) => Action::Deny,
                Err(_) => return Err(unknown("action", policy.action)),
            },
            namespace: policy.namespace,
            dry_run: policy.dry_run,
            rules: policy
                .rules
                .into_iter()
                .map(parse_rule)
                .collect::<Result<_, _>>()?,
            unreadable: None,
        })
    }
}

fn parse_rule(rule: wire::Rule) -> Result<Vec<Vec<Match>>, ResourceError> {
    let clause = |clause: wire::Clause| clause.matches.into_iter().map(parse_match).collect();
    rule.clauses.into_iter().map(clause).collect()
}

fn parse_match(m: wire::Match) -> Result<Match, ResourceError> {
    Ok(Match {
        namespaces: values(m.namespaces, m.not_namespaces, string)?,
        principals: values(m.principals, m.not_principals, string)?,
        source_ips: values(m.source_ips, m.not_source_ips, net)?,
        destination_ips: values(m.destination_ips, m.not_destination_ips, net)?,
        destination_ports: values(m.destination_ports, m.not_destination_ports, |port| {
            parse_port(port, "destination_ports")
        })?,
        service_accounts: values(m.service_accounts, m.not_service_accounts, account)?,
    })
}

fn values<W, T>(
    any: Vec<W>,
    none: Vec<W>,
    parse: impl Fn(W) -> Result<T, ResourceError> + Copy,
) -> Result<Values<T>, ResourceError> {
    let all =
        |list: Vec<W>| -> Result<Vec<T>, ResourceError> { list.into_iter().map(parse).collect() };
    Ok(Values {
        any: all(any)?,
        none: all(none)?,
    })
}

fn string(value: wire::StringMatch) -> Result<StringMatch, ResourceError> {
    use wire::string_match::MatchType;
    match value.match_type {
        Some(MatchType::Exact(text)) => Ok(StringMatch::Exact(text)),
        Some(MatchType::Prefix(text)) => Ok(StringMatch::Prefix(text)),
        Some(MatchType::Suffix(text)) => Ok(StringMatch::Suffix(text)),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
        None => Err(ResourceError::Empty {
            field: "match_type",
        }),
    }
}

fn account(value: wire::ServiceAccountMatch) -> Result<ServiceAccountMatch, ResourceError> {
    Ok(ServiceAccountMatch {
        namespace: value.namespace,
        service_account: value.service_account,
    })
}

fn net(value: wire::Address) -> Result<IpNet, ResourceError> {
    let ip = parse_ip(&value.address, "address")?;
    // An IPv4 network written in mapped form counts its length from the 96th bit.
    let mapped = value.address.len() == 16 && matches!(ip, IpAddr::V4(_));
    let out_of_range = || ResourceError::Range {
        field: "length",
        value: value.length.into(),
    };
    let bits = if mapped {
        value.length.checked_sub(96)
    } else {
        Some(value.length)
    };
    let bits = bits
        .and_then(|bits| u8::try_from(bits).ok())
        .ok_or_else(out_of_range)?;
    IpNet::new(ip, bits).map_err(|_| out_of_range())
}
