//! A pod being served: its namespace, its identity, its open connections.
mod connections;
mod listeners;
mod manager;
mod steer;

pub use connections::Connections;
pub use manager::{PodManager, Served};

use std::sync::Arc;
use std::time::Duration;

use crate::hbone::pool::Pool;
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::IdentitySlot;
use crate::identity::spiffe::SpiffeId;
use crate::inbound::{Handshakes, Live};
use crate::inpod::netns::NetNs;
use crate::outbound::{Plaintext, in_mesh};
use crate::shared::Shared;
use crate::zds;

pub struct Pod {
    pub info: zds::Pod,
    /// The uid xDS knows it by.
    pub workload_uid: String,
    pub netns: NetNs,
    pub pool: Pool,
    pub connections: Connections,
    /// Accepted connections whose policy is asked again when it changes.
    pub live: Live,
    /// Connections of the pod's applications that go out as they are.
    pub plaintext: Plaintext,
    pub handshakes: Handshakes,
    pub shared: Arc<Shared>,
    slot: Arc<IdentitySlot>,
}

impl Pod {
    fn new(info: zds::Pod, netns: NetNs, slot: Arc<IdentitySlot>, shared: Arc<Shared>) -> Self {
        Self {
            workload_uid: shared.config.workload_uid(&info.namespace, &info.name),
            info,
            netns,
            pool: Pool::new(shared.metrics.clone()),
            connections: Connections::default(),
            live: Live::default(),
            plaintext: Plaintext::default(),
            handshakes: Handshakes::default(),
            shared,
            slot,
        }
    }

    /// `namespace/name`, for logs.
    pub fn name(&self) -> String {
        format!("{}/{}", self.info.namespace, self.info.name)
    }

    /// How many open connections go in plaintext to peers that are in the mesh by now.
    pub fn older_connections(&self) -> usize {
        let (mesh, network) = (self.shared.state.read(), &self.shared.config.network);
        self.plaintext.older(|at| in_mesh(&mesh, network, at))
    }

    /// Ends those in which nothing has moved for `quiet`; all of them where that is none.
    /// Answers how many.
    pub fn end_older_connections(&self, quiet: Option<Duration>) -> usize {
        let (mesh, network) = (self.shared.state.read(), &self.shared.config.network);
        self.plaintext.end(quiet, |at| in_mesh(&mesh, network, at))
    }

    pub fn identity(&self) -> &SpiffeId {
        self.slot.identity()
    }

    /// The certificate to use now; none when it has ended and no other could be had.
    pub fn certificate(&self) -> Option<Arc<WorkloadCertificate>> {
        self.slot.current()
    }
}
