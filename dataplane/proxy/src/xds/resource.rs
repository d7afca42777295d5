//! Resources as they come: decoded, checked, turned into changes of the state.
//!
//! ```text
//!  none ──▶ read ◀──▶ unreadable        each version that comes is one or the other;
//!   ▲         │            │            one that is unreadable refuses what it covers,
//!   └─────────┴── removed ─┘            and the version before it is no longer in force
//! ```
use std::collections::HashMap;

use prost::Message;
use tulle_wire::discovery::{DeltaDiscoveryResponse, Resource};
use tulle_wire::workload::address::Type;
use tulle_wire::{security, workload};

use super::{known, salvage};
use crate::policy::Policy;
use crate::resource::ResourceError;
use crate::state::{Change, Service, Workload};

/// The two kinds of resources this proxy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Address,
    Authorization,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Address, Self::Authorization];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Address => tulle_wire::ADDRESS_TYPE,
            Self::Authorization => tulle_wire::AUTHORIZATION_TYPE,
        }
    }

    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }
}

/// One answer, taken apart: what to change, and what had to be refused.
#[derive(Debug, Default)]
pub struct Delivery {
    pub changes: Vec<Change>,
    /// Name and version of what came. What could not be read has no version, so that on
    /// reconnect it is sent again, or said to be gone, whatever the control plane has by then.
    pub versions: HashMap<String, String>,
    pub removed: Vec<String>,
    /// `name: why` of what could not be read.
    pub refused: Vec<String>,
}

/// Takes an answer apart. A resource that cannot be read does not hinder the others.
pub fn unpack(kind: Kind, response: DeltaDiscoveryResponse) -> Delivery {
    let mut delivery = Delivery::default();
    for name in response.removed_resources {
        delivery.changes.push(match kind {
            Kind::Address => Change::AddressGone(name.clone()),
            Kind::Authorization => Change::PolicyGone(name.clone()),
        });
        delivery.removed.push(name);
    }
    for resource in response.resources {
        match parse(kind, &resource) {
            Ok(change) => {
                delivery.changes.push(change);
                delivery.versions.insert(resource.name, resource.version);
            }
            Err(err) => {
                delivery.refused.push(format!("{}: {err}", resource.name));
                delivery.changes.push(unreadable(kind, &resource, &err));
                delivery.versions.insert(resource.name, String::new());
            }
        }
    }
    delivery
}

fn parse(kind: Kind, resource: &Resource) -> Result<Change, ResourceError> {
    let any = resource
        .resource
        .as_ref()
        .ok_or(ResourceError::Empty { field: "resource" })?;
    if any.type_url != kind.type_url() {
        return Err(ResourceError::Decode(format!(
            "is of type {:?}",
            any.type_url
        )));
    }
    let decode = |err: prost::DecodeError| ResourceError::Decode(err.to_string());
    let (change, name) = match kind {
        Kind::Authorization => {
            let policy = security::Authorization::decode(any.value.as_slice()).map_err(decode)?;
            known::authorization(&any.value)?;
            let policy = Policy::parse(policy)?;
            let name = policy.name.clone();
            (Change::Policy(Box::new(policy)), name)
        }
        Kind::Address => {
            let address = workload::Address::decode(any.value.as_slice()).map_err(decode)?;
            match address
                .r#type
                .ok_or(ResourceError::Empty { field: "address" })?
            {
                Type::Workload(workload) => {
                    let workload = Workload::parse(workload)?;
                    let name = workload.uid.clone();
                    (Change::Workload(Box::new(workload)), name)
                }
                Type::Service(service) => {
                    let service = Service::parse(service)?;
                    let name = service.id.to_string();
                    (Change::Service(Box::new(service)), name)
                }
            }
        }
    };
    // What is kept under one name and removed by another would stay for ever.
    if name != resource.name {
        return Err(ResourceError::Decode(format!("says its name is {name:?}")));
    }
    Ok(change)
}

/// What stands for a resource that cannot be read.
fn unreadable(kind: Kind, resource: &Resource, reason: &ResourceError) -> Change {
    let of_kind = resource
        .resource
        .as_ref()
        .filter(|any| any.type_url == kind.type_url());
    let value = of_kind.map(|any| any.value.as_slice());
    match kind {
        Kind::Authorization => {
            Change::Policy(Box::new(salvage::policy(&resource.name, value, reason)))
        }
        Kind::Address => Change::Unreadable(salvage::address(&resource.name, value, reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use prost_types::Any;

    fn resource(name: &str, kind: Kind, value: Vec<u8>) -> Resource {
        Resource {
            name: name.into(),
            version: "1".into(),
            resource: Some(Any {
                type_url: kind.type_url().into(),
                value,
            }),
            aliases: vec![],
        }
    }

    fn workload(uid: &str, address: Vec<u8>) -> Vec<u8> {
        let workload = workload::Workload {
            uid: uid.into(),
            namespace: "shop".into(),
            addresses: vec![address.into()],
            ..Default::default()
        };
        workload::Address {
            r#type: Some(Type::Workload(workload)),
        }
        .encode_to_vec()
    }

    #[test]
    fn a_bad_resource_is_named_and_the_rest_is_taken() {
        let delivery = unpack(
            Kind::Address,
            DeltaDiscoveryResponse {
                resources: vec![
                    resource("good", Kind::Address, workload("good", vec![10, 0, 0, 1])),
                    resource("bad", Kind::Address, workload("bad", vec![10, 0, 0])),
                    resource("junk", Kind::Address, vec![0xff; 7]),
                    resource("liar", Kind::Address, workload("other", vec![10, 0, 0, 2])),
                    resource("typed", Kind::Authorization, vec![]),
                    Resource {
                        name: "empty".into(),
                        ..Default::default()
                    },
                ],
                removed_resources: vec!["gone".into()],
                ..Default::default()
            },
        );
        let unreadable = |change: &Change| matches!(change, Change::Unreadable(_));
        assert_eq!(delivery.changes.iter().filter(|c| unreadable(c)).count(), 5);
        assert_eq!(delivery.changes.len(), 7);
        let held = |name: &str| delivery.versions.get(name).map(String::as_str);
        assert_eq!((held("good"), held("bad")), (Some("1"), Some("")));
        let names: Vec<_> = delivery
            .refused
            .iter()
            .filter_map(|text| text.split(':').next())
            .collect();
        assert_eq!(names, ["bad", "junk", "liar", "typed", "empty"]);
    }

    #[test]
    fn r28_random_resources_never_panic() {
        let good = workload("u", vec![10, 0, 0, 1]);
        fuzz::rounds(50_000, |random| {
            let mut value = good.clone();
            for byte in &mut value {
                if random.u8(..8) == 0 {
                    *byte = random.u8(..);
                }
            }
            let kind = Kind::ALL[random.usize(..2)];
            let resources = vec![resource("u", kind, value)];
            let delivery = unpack(
                kind,
                DeltaDiscoveryResponse {
                    resources,
                    ..Default::default()
                },
            );
            assert_eq!(delivery.changes.len(), 1);
        });
    }
}
