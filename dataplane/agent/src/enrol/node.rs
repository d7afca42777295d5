use std::sync::Arc;

use tokio::sync::watch;

use crate::cluster::{MeshView, View};
use crate::metrics::Metrics;
use crate::netns::Finder;
use crate::report::Board;
use crate::rules::{NodeAddresses, Ruler};
use crate::zds::Proxies;

/// What every pod's worker works with: one node's means.
pub struct Node {
    pub proxies: Arc<Proxies>,
    pub board: Arc<Board>,
    pub addresses: NodeAddresses,
    pub finder: Finder,
    pub ruler: Ruler,
    pub view: watch::Receiver<View>,
    pub metrics: Metrics,
}

impl Node {
    /// The Mesh as it is, or as it was last.
    pub fn mesh(&self) -> MeshView {
        self.view.borrow().last_mesh
    }
}
