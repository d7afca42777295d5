use std::sync::Arc;

use tokio::sync::watch;
use tulle_socket_owner::SocketOwner;
use tulle_zds::Pod;

use crate::cluster::{MeshView, PodView, View};
use crate::metrics::Metrics;
use crate::netns::{Finder, Netns};
use crate::ports::{Listeners, Ports};
use crate::proxy::ProxyObservations;
use crate::report::StatusStore;
use crate::rules::{NodeAddresses, RuleInstaller};
use crate::zds::{Handover, Proxies};

/// What every pod's worker works with: one node's means.
pub struct Node {
    pub proxies: Arc<Proxies>,
    /// What the proxies see of their pods.
    pub observations: ProxyObservations,
    pub store: Arc<StatusStore>,
    pub addresses: NodeAddresses,
    pub finder: Finder,
    pub rule_installer: RuleInstaller,
    /// What the proxies' sockets are known by in the pods.
    pub owner: SocketOwner,
    pub ports: Ports,
    pub view: watch::Receiver<View>,
    pub metrics: Metrics,
}

impl Node {
    /// Hands a pod to the proxies, or again where it was refused.
    pub fn hand_over(&self, pod: &PodView, namespace: Netns, listeners: Option<Listeners>) {
        let pod = Pod {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            service_account: pod.service_account.clone(),
        };
        let uid = pod.uid.clone();
        let handover = Handover {
            pod,
            namespace,
            listeners,
        };
        self.proxies.add(&uid, handover);
    }

    /// The Mesh as it is, or as it was last.
    pub fn mesh(&self) -> MeshView {
        self.view.borrow().last_mesh
    }
}
