use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tulle_names::SYSTEM_NAMESPACE;

use crate::mesh_node::PodStatus;
use crate::sockets::Policy;

/// A pod as far as its enrolment depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub ips: Vec<IpAddr>,
    pub host_network: bool,
    /// The value of its mode label.
    pub mode: Option<String>,
    /// It has run to its end.
    pub has_ended: bool,
    /// Where the kubelet asks it, on its own address: probes and lifecycle hooks.
    pub probe_ports: BTreeSet<u16>,
}

impl From<PodStatus> for PodView {
    fn from(status: PodStatus) -> Self {
        Self {
            uid: status.uid,
            namespace: status.namespace,
            name: status.name,
            service_account: status.service_account,
            ips: status.ips,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceView {
    /// The value of its mode label.
    pub mode: Option<String>,
}

/// `Mesh` `default`, as far as the agent acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshView {
    pub existing_connections: Policy,
    /// How long a proxy may drain a pod's connections.
    pub drain: Duration,
}

impl Default for MeshView {
    fn default() -> Self {
        Self {
            existing_connections: Policy::End {
                grace: Duration::from_secs(30),
            },
            drain: Duration::from_secs(30),
        }
    }
}

/// This node's part of the cluster. Clones share what did not change.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By UID.
    pub pods: Arc<BTreeMap<String, PodView>>,
    pub namespaces: Arc<BTreeMap<String, NamespaceView>>,
    /// The Mesh, unless it is being deleted or there is none.
    pub mesh: Option<MeshView>,
    /// The Mesh as it was last: what is undone is undone by its rules.
    pub last_mesh: MeshView,
    pub synced: Synced,
}

/// Which lists have been whole once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub pods: bool,
    pub namespaces: bool,
    pub mesh: bool,
}

impl View {
    pub fn set_mesh(&mut self, mesh: Option<MeshView>) {
        self.mesh = mesh;
        self.last_mesh = mesh.unwrap_or(self.last_mesh);
    }

    /// A whole list came without the Mesh. That is not believed while the Mesh is
    /// known: its finalizer waits for this node, so it cannot have gone unseen.
    pub fn list_without_mesh(&mut self) {
        if self.mesh.is_some() {
            tracing::warn!("a list without the Mesh is not believed");
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced.pods && self.synced.namespaces && self.synced.mesh
    }

    /// Whether the cluster's own namespaces are there. A view without them is
    /// of an API server that has lost its memory: nothing is undone on its word.
    pub fn is_plausible(&self) -> bool {
        self.namespaces.contains_key(SYSTEM_NAMESPACE)
    }

    /// The Mesh has been deleted, and this can be believed.
    pub fn is_mesh_gone(&self) -> bool {
        self.is_synced() && self.mesh.is_none() && self.is_plausible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_the_mesh_takes_no_pod_out() {
        let mut view = View::default();
        view.set_mesh(Some(MeshView::default()));
        view.list_without_mesh();
        assert!(view.mesh.is_some());
        // Its deletion is seen as such.
        view.set_mesh(None);
        assert!(view.mesh.is_none());
    }
}
