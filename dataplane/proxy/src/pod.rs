//! A pod being served: its namespace, its identity, its open connections.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::connection::Registry;
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::{IdentitySlot, Renewals};
use crate::inpod::netns::NetNs;
use crate::route::{Affinity, in_mesh};
use crate::shared::Shared;
use crate::spiffe::SpiffeId;
use crate::state::{Protocol, Snapshot};
use crate::tunnel::Pool;
use crate::tunnel::hbone::Hbone;
use crate::zds;

pub struct Pod {
    pub info: zds::Pod,
    /// The uid xDS knows it by.
    pub workload_uid: String,
    pub netns: Arc<NetNs>,
    pub tunnels: Pool<Hbone>,
    /// From the pod's applications and to them.
    pub connections: Registry,
    /// Where the pod's connections to services went.
    pub affinity: Mutex<Affinity>,
    pub shared: Arc<Shared>,
    slot: Arc<IdentitySlot>,
}

/// How the mesh sees a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshState {
    /// The control plane tells everybody to reach the pod by mutual TLS.
    pub announced: bool,
    /// The control plane tells everybody that the pod is being enrolled.
    pub enrolling: bool,
    /// Open connections in plaintext with peers that are in the mesh by now.
    pub existing_connections: usize,
}

impl Pod {
    pub fn new(info: zds::Pod, netns: NetNs, slot: Arc<IdentitySlot>, shared: Arc<Shared>) -> Self {
        let netns = Arc::new(netns);
        let tunnels = Hbone {
            netns: netns.clone(),
            identity: slot.clone(),
            metrics: shared.metrics.clone(),
            drain: shared.config.drain,
        };
        Self {
            workload_uid: shared.config.workload_uid(&info.namespace, &info.name),
            info,
            tunnels: Pool::new(tunnels),
            netns,
            connections: Registry::default(),
            affinity: Mutex::default(),
            shared,
            slot,
        }
    }

    /// `namespace/name`, for logs.
    pub fn name(&self) -> String {
        format!("{}/{}", self.info.namespace, self.info.name)
    }

    /// How the mesh sees the pod. Both facts are of one view of it: whoever is told that the pod
    /// is announced is told of every connection that should be tunnelled and is not.
    pub fn mesh_state(&self, mesh: &Snapshot) -> MeshState {
        let network = &self.shared.config.network;
        let own = mesh.workload(&self.workload_uid);
        MeshState {
            announced: own.is_some_and(|own| own.protocol == Protocol::Hbone),
            enrolling: own.is_some_and(|own| own.is_enrolling()),
            existing_connections: self
                .connections
                .existing(|peer| in_mesh(mesh, network, peer)),
        }
    }

    /// Ends those in which nothing has moved for `quiet`; all of them where that is none.
    /// Answers how many.
    pub fn end_existing_connections(&self, quiet: Option<Duration>) -> usize {
        let (mesh, network) = (self.shared.state.read(), &self.shared.config.network);
        self.connections
            .end_existing(quiet, |peer| in_mesh(&mesh, network, peer))
    }

    pub fn identity(&self) -> &SpiffeId {
        self.slot.identity()
    }

    /// Every certificate from now on, that of now first.
    pub fn renewals(&self) -> Renewals {
        self.slot.renewals()
    }

    /// The certificate to use now; none when it has ended and no other could be had.
    pub fn certificate(&self) -> Option<Arc<WorkloadCertificate>> {
        self.slot.current()
    }
}
