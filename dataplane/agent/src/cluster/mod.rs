//! What the API server says, as far as this node's agent needs it: a view
//! kept by watching, a few questions asked freshly, and the one write.
mod follow;
mod kube;
mod objects;
mod probes;
mod view;

use futures::future::BoxFuture;
use tokio::sync::watch;

pub use kube::KubeCluster;
pub use view::{MeshView, NamespaceView, PodView, View};

use tulle_metrics_server::Access;

use crate::mesh_node::MeshNodeStatus;

/// A question to the API server that was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct ClusterError {
    pub what: String,
    pub cause: String,
}

/// What became of a write of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusOutcome {
    Stored,
    /// The operator has not made the node's MeshNode yet, or has removed it.
    NoMeshNode,
}

/// Which MeshNode object is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshNodeSeen {
    /// Grows with each other object.
    pub revision: u64,
    pub uid: Option<String>,
}

/// The seam to Kubernetes.
pub trait Cluster: Send + Sync {
    /// The newest view. Before the first whole one arrived it is not `synced`;
    /// when the API server is away it stays as it was.
    fn view(&self) -> watch::Receiver<View>;

    /// The pod as the API server has it now; `None` where there is none.
    fn pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PodView>, ClusterError>>;

    /// The namespace as the API server has it now.
    fn namespace<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<NamespaceView>, ClusterError>>;

    /// What an agent before this one stored; `None` where there is no MeshNode.
    fn stored_status(&self) -> BoxFuture<'_, Result<Option<MeshNodeStatus>, ClusterError>>;

    /// Stores the status of this node's MeshNode by server-side apply.
    fn store_status<'a>(
        &'a self,
        status: &'a MeshNodeStatus,
    ) -> BoxFuture<'a, Result<StatusOutcome, ClusterError>>;

    /// Whether whose token this is may read metrics (TokenReview and SubjectAccessReview).
    fn may_read_metrics<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Access, ClusterError>>;

    /// Changes when the MeshNode is another object than before: what was
    /// stored in the old one is not in it.
    fn mesh_node_replaced(&self) -> watch::Receiver<MeshNodeSeen>;
}
