//! Resources as they come: decoded, checked, turned into changes of the state.
use std::collections::HashMap;

use prost::Message;
use tulle_wire::discovery::{DeltaDiscoveryResponse, Resource};
use tulle_wire::workload::address::Type;
use tulle_wire::{security, workload};

use crate::policy::Policy;
use crate::state::{Change, ResourceError, Service, Workload};

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
    /// Name and version of what was taken.
    pub versions: HashMap<String, String>,
    pub removed: Vec<String>,
    /// `name: why` of what was refused; what was there before of that name stays.
    pub refused: Vec<String>,
}

/// Takes an answer apart. A resource that cannot be used does not hinder the others.
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
            Err(err) => delivery.refused.push(format!("{}: {err}", resource.name)),
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

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(delivery.changes.len(), 2);
        assert_eq!(delivery.versions.keys().collect::<Vec<_>>(), ["good"]);
        let names: Vec<_> = delivery
            .refused
            .iter()
            .filter_map(|text| text.split(':').next())
            .collect();
        assert_eq!(names, ["bad", "junk", "liar", "typed", "empty"]);
    }

    #[test]
    fn r28_random_resources_never_panic() {
        let mut random = fastrand::Rng::with_seed(28);
        let good = workload("u", vec![10, 0, 0, 1]);
        for round in 0..50_000 {
            let mut value = good.clone();
            for byte in &mut value {
                if random.u8(..8) == 0 {
                    *byte = random.u8(..);
                }
            }
            let kind = Kind::ALL[round % 2];
            let _ = parse(kind, &resource("u", kind, value));
        }
    }
}
