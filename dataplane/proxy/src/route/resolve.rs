//! Where a connection goes and how: pure, on one consistent view of the mesh.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tulle_names::{HBONE_PORT, is_own_port};

use super::affinity::Affinity;
use super::balance::{eligible, pick, preferred};
use super::{Refusal, Route, Way};
use crate::state::service::{Waypoint, WaypointDestination};
use crate::state::{Protocol, Service, Snapshot, Workload};
use crate::tunnel::Peer;

/// Who asks and when, where it was sent before, and a throw of the dice.
pub struct Origin<'a> {
    pub workload: Option<&'a Workload>,
    pub network: &'a str,
    pub affinity: &'a Affinity,
    pub now: Instant,
    /// In 0..1.
    pub chance: f64,
}

/// Finds the way for a connection to `to`.
pub fn resolve(mesh: &Snapshot, origin: &Origin<'_>, to: SocketAddr) -> Route {
    if let Some(unreadable) = mesh.unreadable_at(origin.network, to.ip()) {
        return Route {
            way: Way::Refused(Refusal::Unreadable(unreadable.clone())),
            workload: None,
            service: None,
        };
    }
    if let Some(service) = mesh.service_by_vip(origin.network, to.ip()) {
        let service = service.clone();
        let (way, workload) = to_service(mesh, origin, &service, to);
        return Route {
            way,
            workload,
            service: Some(service),
        };
    }
    let Some(workload) = mesh.workload_by_ip(origin.network, to.ip()) else {
        return Route {
            way: Way::Plaintext(to),
            workload: None,
            service: None,
        };
    };
    if let Some(waypoint) = &workload.waypoint {
        let (way, workload) = to_waypoint(mesh, origin, waypoint, to);
        return Route {
            way,
            workload,
            service: None,
        };
    }
    Route {
        way: direct(workload, to),
        workload: Some(workload.clone()),
        service: None,
    }
}

/// Whether what is reached at an address is in the mesh now, so that a connection made to it
/// would not go in plaintext. Of a service it is enough that one endpoint is: which of them a
/// connection has that was made before the service was known, nobody knows. What cannot be read
/// may be in it.
pub fn in_mesh(mesh: &Snapshot, network: &str, at: SocketAddr) -> bool {
    let is_in =
        |workload: &Workload| workload.protocol == Protocol::Hbone || workload.waypoint.is_some();
    if mesh.unreadable_at(network, at.ip()).is_some() {
        return true;
    }
    match mesh.service_by_vip(network, at.ip()) {
        Some(service) => {
            service.waypoint.is_some()
                || mesh.endpoints(&service.id).any(|workload| is_in(workload))
        }
        None => mesh
            .workload_by_ip(network, at.ip())
            .is_some_and(|workload| is_in(workload)),
    }
}

/// To a workload at an address of its own. What xDS calls HBONE is never sent plaintext.
fn direct(workload: &Workload, to: SocketAddr) -> Way {
    match workload.protocol {
        Protocol::Plaintext => Way::Plaintext(to),
        Protocol::Hbone if is_own_port(to.port()) => Way::Refused(Refusal::OwnPort),
        Protocol::Hbone => Way::Tunnel {
            peer: peer(workload, to.ip(), HBONE_PORT),
            target: to,
        },
    }
}

fn peer(workload: &Workload, ip: IpAddr, port: u16) -> Peer {
    Peer {
        identity: workload.identity.clone(),
        address: SocketAddr::new(ip, port),
    }
}

fn to_service(
    mesh: &Snapshot,
    origin: &Origin<'_>,
    service: &Arc<Service>,
    to: SocketAddr,
) -> (Way, Option<Arc<Workload>>) {
    if let Some(waypoint) = &service.waypoint {
        return to_waypoint(mesh, origin, waypoint, to);
    }
    if !service.ports.contains_key(&to.port()) {
        return (Way::Refused(Refusal::NoPort), None);
    }
    match endpoint(mesh, origin, service, to) {
        Some((workload, at)) => (direct(&workload, at), Some(workload)),
        None => (Way::Refused(Refusal::NoEndpoint), None),
    }
}

/// An endpoint of `service` for a connection to `to`, and its address there.
fn endpoint(
    mesh: &Snapshot,
    origin: &Origin<'_>,
    service: &Service,
    to: SocketAddr,
) -> Option<(Arc<Workload>, SocketAddr)> {
    let usable = mesh
        .endpoints(&service.id)
        .filter(|workload| eligible(service, workload, origin.network))
        .filter(|workload| target_port(service, workload, to.port()).is_some())
        .filter(|workload| !is_unreadable(mesh, workload))
        .cloned()
        .collect();
    let candidates = preferred(service, origin.workload, usable);
    let workload = match kept(origin, service, to.port(), &candidates) {
        Some(workload) => workload,
        None => pick(candidates, origin.chance)?,
    };
    let port = target_port(service, &workload, to.port())?;
    let same_family = workload
        .addresses
        .iter()
        .find(|ip| ip.is_ipv4() == to.is_ipv4());
    let ip = *same_family.or(workload.addresses.first())?;
    Some((workload, SocketAddr::new(ip, port)))
}

/// The candidate of the last connection, where the service wants a client to keep it.
fn kept(
    origin: &Origin<'_>,
    service: &Service,
    port: u16,
    candidates: &[Arc<Workload>],
) -> Option<Arc<Workload>> {
    service.affinity?;
    let uid = origin.affinity.last(&service.id, port, origin.now)?;
    let mut candidates = candidates.iter();
    candidates
        .find(|workload| workload.uid == uid && workload.weight > 0)
        .cloned()
}

/// Whether one of a workload's addresses is also had by something that cannot be read.
fn is_unreadable(mesh: &Snapshot, workload: &Workload) -> bool {
    let mut addresses = workload.addresses.iter();
    addresses.any(|ip| mesh.unreadable_at(&workload.network, *ip).is_some())
}

/// What the endpoint itself says of the port counts before what the service says; 0 is no port.
fn target_port(service: &Service, workload: &Workload, port: u16) -> Option<u16> {
    let own = workload
        .services
        .get(&service.id)
        .and_then(|ports| ports.get(&port));
    own.or_else(|| service.ports.get(&port))
        .copied()
        .filter(|port| *port != 0)
}

/// Through a waypoint, which then knows the destination as it was dialled. Going
/// round a waypoint that is missing would skip its policy: refused instead.
fn to_waypoint(
    mesh: &Snapshot,
    origin: &Origin<'_>,
    waypoint: &Waypoint,
    target: SocketAddr,
) -> (Way, Option<Arc<Workload>>) {
    let at = |ip| SocketAddr::new(ip, waypoint.port);
    let found = match &waypoint.destination {
        WaypointDestination::Service(name) => mesh.service(name).and_then(|service| {
            let ip = service
                .addresses
                .first()
                .map_or(target.ip(), |address| address.ip);
            endpoint(mesh, origin, service, at(ip))
        }),
        WaypointDestination::Address(address) => {
            match mesh.service_by_vip(&address.network, address.ip) {
                Some(service) => endpoint(mesh, origin, service, at(address.ip)),
                None => mesh
                    .workload_by_ip(&address.network, address.ip)
                    .map(|workload| (workload.clone(), at(address.ip))),
            }
        }
    };
    match found {
        Some((workload, address)) if workload.protocol == Protocol::Hbone => {
            let peer = peer(&workload, address.ip(), address.port());
            (Way::Tunnel { peer, target }, Some(workload))
        }
        _ => (Way::Refused(Refusal::NoWaypoint), None),
    }
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
