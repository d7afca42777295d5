//! What can still be said of a resource that cannot be read: whom it covered. It refuses there, so
//! that a control plane newer than this proxy never opens what an older one had closed.
use std::net::IpAddr;

use prost::Message;
use tulle_wire::workload as wire;
use wire::address::Type;

use super::protobuf::{Cut, Field, Value, fields};
use crate::policy::{Action, Policy, Scope};
use crate::resource::{ResourceError, parse_ip};
use crate::state::{Claim, Unreadable};

/// A policy that stands for the one called `name`: as ALLOW it allows nothing, as DENY it denies
/// everything it covers. `value` is none where there is no message of the right type.
pub fn policy(name: &str, value: Option<&[u8]>, reason: &ResourceError) -> Policy {
    let head = value.and_then(Head::read).unwrap_or(Head::NOTHING);
    Policy {
        name: name.to_owned(),
        namespace: head.namespace.to_owned(),
        scope: head.scope,
        rules: match head.action {
            // No rule: nothing matches. One without a clause: everything does.
            Action::Allow => vec![],
            Action::Deny => vec![vec![]],
        },
        action: head.action,
        dry_run: head.dry_run,
        unreadable: Some(reason.to_string()),
    }
}

/// The fields of an Authorization that say where it is in force and what it does there.
struct Head<'a> {
    namespace: &'a str,
    scope: Scope,
    action: Action,
    dry_run: bool,
}

impl<'a> Head<'a> {
    /// Of a policy of which nothing is known: everywhere, nobody.
    const NOTHING: Self = Self {
        namespace: "",
        scope: Scope::Global,
        action: Action::Deny,
        dry_run: false,
    };

    /// None where the message is cut off: what does not stand in it may have stood in the rest.
    fn read(policy: &'a [u8]) -> Option<Self> {
        // What a proto3 message does not say is zero.
        let zero = Some(Value::Varint(0));
        let (mut namespace, mut scope, mut action, mut dry_run) = (Some(""), zero, zero, zero);
        for field in fields(policy) {
            let (number, value) = field.ok()?;
            match number {
                2 => namespace = text(value),
                3 => scope = Some(value),
                4 => action = Some(value),
                6 => dry_run = Some(value),
                _ => {}
            }
        }
        let namespace = namespace.unwrap_or_default();
        Some(Self {
            namespace,
            scope: match scope {
                Some(Value::Varint(1)) if !namespace.is_empty() => Scope::Namespace,
                Some(Value::Varint(2)) => Scope::Selected,
                _ => Scope::Global,
            },
            action: if action == zero {
                Action::Allow
            } else {
                Action::Deny
            },
            dry_run: dry_run == Some(Value::Varint(1)),
        })
    }
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// What stands for the workload or service called `name`, at every address that can be read.
pub fn address(name: &str, value: Option<&[u8]>, reason: &ResourceError) -> Unreadable {
    let value = value.unwrap_or_default();
    let (claims, complete) = match wire::Address::decode(value).map(|address| address.r#type) {
        Ok(Some(Type::Workload(workload))) => of_workload(&workload),
        Ok(Some(Type::Service(service))) => of_service(&service),
        Ok(None) | Err(_) => (in_fragments(value), false),
    };
    Unreadable::new(name, reason.to_string(), claims, complete)
}

fn of_workload(workload: &wire::Workload) -> (Vec<Claim>, bool) {
    let shared = workload.network_mode == i32::from(wire::NetworkMode::HostNetwork);
    let read = workload.addresses.iter().filter_map(|bytes| ip(bytes));
    let claims: Vec<_> = read
        .map(|ip| Claim {
            ip,
            network: Some(workload.network.clone()),
            yields: shared,
        })
        .collect();
    let all = claims.len() == workload.addresses.len();
    complete(claims, all)
}

fn of_service(service: &wire::Service) -> (Vec<Claim>, bool) {
    let read = service.addresses.iter().filter_map(|address| {
        Some(Claim {
            ip: ip(&address.address)?,
            network: Some(address.network.clone()),
            yields: false,
        })
    });
    let claims: Vec<_> = read.collect();
    let all = claims.len() == service.addresses.len();
    complete(claims, all)
}

/// Where there is no address at all, a newer control plane may write it elsewhere.
fn complete(claims: Vec<Claim>, all: bool) -> (Vec<Claim>, bool) {
    let complete = all && !claims.is_empty();
    (claims, complete)
}

/// Of a message that cannot be decoded, what looks like a workload's or service's address. Which
/// network they are of may stand in the part that is broken.
fn in_fragments(address: &[u8]) -> Vec<Claim> {
    let mut ips = Vec::new();
    for (number, message) in fields(address).filter_map(bytes) {
        for (inner, value) in fields(message).filter_map(bytes) {
            match (number, inner) {
                // Address.workload, Workload.addresses
                (1, 3) => ips.extend(ip(value)),
                // Address.service, Service.addresses, NetworkAddress.address
                (2, 4) => {
                    let parts = fields(value).filter_map(bytes);
                    let addresses = parts.filter(|(number, _)| *number == 2);
                    ips.extend(addresses.filter_map(|(_, value)| ip(value)));
                }
                _ => {}
            }
        }
    }
    let claim = |ip| Claim {
        ip,
        network: None,
        yields: false,
    };
    ips.into_iter().map(claim).collect()
}

/// A field that holds bytes, or the part of it that is there.
fn bytes<'a>(field: Result<Field<'a>, Cut<'a>>) -> Option<(u32, &'a [u8])> {
    match field {
        Ok((number, Value::Bytes(bytes))) => Some((number, bytes)),
        Ok(_) => None,
        Err(Cut { field, rest }) => field.map(|number| (number, rest)),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    parse_ip(bytes, "addresses").ok()
}

#[cfg(test)]
#[path = "salvage_test.rs"]
mod tests;
