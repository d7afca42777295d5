//! Where a connection goes, and how.
mod affinity;
mod balance;
mod resolve;

pub use affinity::Affinity;
pub use resolve::{Origin, in_mesh, resolve};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::state::{Service, Unreadable, Workload};
use crate::tunnel::Peer;

/// The way of one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub way: Way,
    /// Who takes the connection: the destination itself, or a waypoint before it.
    pub workload: Option<Arc<Workload>>,
    pub service: Option<Arc<Service>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// Through a tunnel to `peer`, which connects on to `target`.
    Tunnel {
        peer: Peer,
        target: SocketAddr,
    },
    /// As it is: the destination is not in the mesh.
    Plaintext(SocketAddr),
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the destination is the proxy itself")]
    OwnPort,
    #[error("the service has no such port")]
    NoPort,
    #[error("the service has no healthy endpoint")]
    NoEndpoint,
    #[error("the destination wants a waypoint, and none can be reached")]
    NoWaypoint,
    #[error("the destination may be in the mesh: {0}")]
    Unreadable(Arc<Unreadable>),
}
