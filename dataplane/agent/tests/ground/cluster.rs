//! A cluster in memory.
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tulle_agent::cluster::{
    Cluster, ClusterError, MeshNodeSeen, MeshView, NamespaceView, PodView, StatusOutcome, View,
};
use tulle_agent::report::{MeshNodeStatus, PodStatus};

pub struct FakeCluster {
    view: watch::Sender<View>,
    mesh_node: watch::Sender<MeshNodeSeen>,
    pub stored: Mutex<Vec<MeshNodeStatus>>,
    /// Whether the MeshNode exists.
    pub has_mesh_node: Mutex<bool>,
}

impl FakeCluster {
    pub fn new(mesh: MeshView) -> Arc<Self> {
        let mut view = View::default();
        view.set_mesh(Some(mesh));
        view.synced.pods = true;
        view.synced.mesh = true;
        view.synced.namespaces = true;
        let cluster = Self {
            view: watch::Sender::new(view),
            mesh_node: watch::Sender::new(MeshNodeSeen::default()),
            stored: Mutex::default(),
            has_mesh_node: Mutex::new(true),
        };
        cluster.label("tulle-system", None);
        Arc::new(cluster)
    }

    pub fn label(&self, namespace: &str, mode: Option<&str>) {
        self.view.send_modify(|view| {
            let mode = mode.map(str::to_owned);
            Arc::make_mut(&mut view.namespaces)
                .insert(namespace.to_owned(), NamespaceView { mode });
        });
    }

    pub fn put_pod(&self, pod: PodView) {
        self.view.send_modify(|view| {
            Arc::make_mut(&mut view.pods).insert(pod.uid.clone(), pod);
        });
    }

    pub fn delete_pod(&self, uid: &str) {
        self.view.send_modify(|view| {
            Arc::make_mut(&mut view.pods).remove(uid);
        });
    }

    pub fn set_mesh(&self, mesh: Option<MeshView>) {
        self.view.send_modify(|view| view.set_mesh(mesh));
    }

    /// The view of an API server that has lost everything.
    pub fn forget_everything(&self) {
        self.view.send_modify(|view| {
            *view = View {
                synced: view.synced,
                last_mesh: view.last_mesh,
                ..View::default()
            };
        });
    }

    pub fn last(&self) -> MeshNodeStatus {
        self.stored
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }

    pub fn writes(&self) -> usize {
        self.stored.lock().unwrap().len()
    }

    pub fn stored_pod(&self, uid: &str) -> Option<PodStatus> {
        self.last().pods.into_iter().find(|pod| pod.uid == uid)
    }

    pub fn has_condition(&self, kind: &str, status: &str) -> bool {
        self.last()
            .condition(kind)
            .is_some_and(|condition| format!("{:?}", condition.status) == status)
    }
}

impl Cluster for FakeCluster {
    fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    fn pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PodView>, ClusterError>> {
        let view = self.view.borrow();
        let found = view
            .pods
            .values()
            .find(|pod| pod.namespace == namespace && pod.name == name)
            .cloned();
        async move { Ok(found) }.boxed()
    }

    fn namespace<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<NamespaceView>, ClusterError>> {
        let found = self.view.borrow().namespaces.get(name).cloned();
        async move { Ok(found) }.boxed()
    }

    fn stored_status(&self) -> BoxFuture<'_, Result<Option<MeshNodeStatus>, ClusterError>> {
        let found = self.stored.lock().unwrap().last().cloned();
        async move { Ok(found) }.boxed()
    }

    fn store_status<'a>(
        &'a self,
        status: &'a MeshNodeStatus,
    ) -> BoxFuture<'a, Result<StatusOutcome, ClusterError>> {
        let outcome = if *self.has_mesh_node.lock().unwrap() {
            self.stored.lock().unwrap().push(status.clone());
            StatusOutcome::Stored
        } else {
            StatusOutcome::NoMeshNode
        };
        async move { Ok(outcome) }.boxed()
    }

    fn may_read_metrics<'a>(
        &'a self,
        _token: &'a str,
    ) -> BoxFuture<'a, Result<tulle_metrics_server::Access, ClusterError>> {
        async { Ok(tulle_metrics_server::Access::Forbidden) }.boxed()
    }

    fn mesh_node_replaced(&self) -> watch::Receiver<MeshNodeSeen> {
        self.mesh_node.subscribe()
    }
}
