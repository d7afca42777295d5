//! What metrics and the access log say of a connection.
use std::net::SocketAddr;
use std::sync::Arc;

use super::labels::Reporter;
use crate::spiffe::SpiffeId;
use crate::state::{Service, Workload};

/// What is known of a connection by the time its route is.
#[derive(Clone)]
pub struct Facts {
    pub reporter: Reporter,
    pub source: SocketAddr,
    pub source_workload: Option<Arc<Workload>>,
    /// Where the source is a node: what it sends for itself, its host-network pods, and others whose source it changes.
    pub source_node: Option<String>,
    pub source_identity: Option<SpiffeId>,
    /// Where the application was going, or the peer asked to go.
    pub destination: SocketAddr,
    /// Where it really went, when that is not the same.
    pub upstream: Option<SocketAddr>,
    pub destination_workload: Option<Arc<Workload>>,
    pub destination_node: Option<String>,
    pub destination_identity: Option<SpiffeId>,
    pub service: Option<Arc<Service>>,
    pub hbone: bool,
    /// The policy that decided, where one did.
    pub policy: Option<String>,
    /// The trace id both ends log.
    pub trace: Option<String>,
}

#[cfg(test)]
impl Facts {
    /// A connection of which nothing is known.
    pub fn unknown(reporter: Reporter) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            reporter,
            source: nowhere,
            source_workload: None,
            source_node: None,
            source_identity: None,
            destination: nowhere,
            upstream: None,
            destination_workload: None,
            destination_node: None,
            destination_identity: None,
            service: None,
            hbone: false,
            policy: None,
            trace: None,
        }
    }
}
