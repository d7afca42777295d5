//! Services as connections see them.
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tulle_wire::workload as wire;
use wire::load_balancing::{HealthPolicy, Mode, Scope};

use super::NetworkIp;
use crate::resource::{ResourceError, parse_ip, parse_port};

/// `namespace/hostname`, as resources are named and workloads refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    pub namespace: String,
    pub hostname: String,
}

impl ServiceName {
    /// Reads `namespace/hostname`.
    pub fn parse(value: &str) -> Option<Self> {
        let (namespace, hostname) = value.split_once('/')?;
        Some(Self {
            namespace: namespace.to_owned(),
            hostname: hostname.to_owned(),
        })
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// Where L7 is done for a service or workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waypoint {
    pub destination: WaypointDestination,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaypointDestination {
    Service(ServiceName),
    Address(NetworkIp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub id: ServiceName,
    pub addresses: Vec<NetworkIp>,
    /// Service port to the port endpoints use, where they do not say another; 0 where only they know.
    pub ports: HashMap<u16, u16>,
    pub waypoint: Option<Waypoint>,
    pub mode: Mode,
    pub preference: Vec<Scope>,
    pub health: HealthPolicy,
    /// How long after its last connection to a port a client keeps its endpoint.
    pub affinity: Option<Duration>,
}

impl Service {
    /// # Errors
    /// When a field is malformed or holds a value this proxy does not know.
    pub fn parse(service: wire::Service) -> Result<Self, ResourceError> {
        if service.hostname.is_empty() {
            return Err(ResourceError::Empty { field: "hostname" });
        }
        let balancing = service.load_balancing.unwrap_or_default();
        Ok(Self {
            name: service.name,
            id: ServiceName {
                namespace: service.namespace,
                hostname: service.hostname,
            },
            addresses: service
                .addresses
                .iter()
                .map(network_ip)
                .collect::<Result<_, _>>()?,
            ports: parse_ports(&service.ports)?,
            waypoint: service.waypoint.map(parse_waypoint).transpose()?,
            mode: known("load_balancing.mode", balancing.mode)?,
            preference: balancing
                .routing_preference
                .iter()
                .map(|scope| known("load_balancing.routing_preference", *scope))
                .collect::<Result<_, _>>()?,
            health: known("load_balancing.health_policy", balancing.health_policy)?,
            affinity: match service.client_affinity_seconds {
                0 => None,
                seconds => Some(Duration::from_secs(seconds.into())),
            },
        })
    }
}

/// An enum's number as its value.
pub(super) fn known<T: TryFrom<i32>>(field: &'static str, value: i32) -> Result<T, ResourceError> {
    T::try_from(value).map_err(|_| ResourceError::Unknown {
        field,
        value: value.into(),
    })
}

pub(super) fn parse_ports(ports: &[wire::Port]) -> Result<HashMap<u16, u16>, ResourceError> {
    ports
        .iter()
        .map(|port| {
            Ok((
                parse_port(port.service_port, "service_port")?,
                parse_port(port.target_port, "target_port")?,
            ))
        })
        .collect()
}

pub(super) fn parse_waypoint(gateway: wire::GatewayAddress) -> Result<Waypoint, ResourceError> {
    use wire::gateway_address::Destination;
    const FIELD: &str = "waypoint";
    let destination = match gateway.destination {
        Some(Destination::Hostname(name)) => WaypointDestination::Service(ServiceName {
            namespace: name.namespace,
            hostname: name.hostname,
        }),
        Some(Destination::Address(address)) => WaypointDestination::Address(network_ip(&address)?),
        None => return Err(ResourceError::Empty { field: FIELD }),
    };
    Ok(Waypoint {
        destination,
        port: parse_port(gateway.hbone_mtls_port, FIELD)?,
    })
}

fn network_ip(address: &wire::NetworkAddress) -> Result<NetworkIp, ResourceError> {
    Ok(NetworkIp {
        network: address.network.clone(),
        ip: parse_ip(&address.address, "addresses")?,
    })
}
