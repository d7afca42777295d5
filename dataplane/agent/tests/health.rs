//! The agent while the API server is away at its start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fixture::node::parts;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tulle_agent::agent::{Parts, serve};
use tulle_agent::cluster::{
    Cluster, ClusterError, MeshNodeSeen, NamespaceView, PodView, StatusOutcome, View,
};
use tulle_agent::report::MeshNodeStatus;

/// An API server that never answers.
#[derive(Default)]
struct Away {
    view: watch::Sender<View>,
    mesh_node: watch::Sender<MeshNodeSeen>,
}

impl Cluster for Away {
    fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    fn pod<'a>(
        &'a self,
        _namespace: &'a str,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PodView>, ClusterError>> {
        std::future::pending().boxed()
    }

    fn namespace<'a>(
        &'a self,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<NamespaceView>, ClusterError>> {
        std::future::pending().boxed()
    }

    fn stored_status(&self) -> BoxFuture<'_, Result<Option<MeshNodeStatus>, ClusterError>> {
        std::future::pending().boxed()
    }

    fn store_status<'a>(
        &'a self,
        _status: &'a MeshNodeStatus,
    ) -> BoxFuture<'a, Result<StatusOutcome, ClusterError>> {
        std::future::pending().boxed()
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

async fn away(root: &Path) -> Parts {
    std::fs::create_dir_all(root.join("proc")).unwrap();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = Arc::new(Away::default());
    parts(root, cluster, http, watch::Sender::new(false))
}

#[tokio::test]
async fn r20_it_is_alive_and_not_ready_and_says_no_more_while_it_waits_for_the_api_server() {
    let root = tempfile::tempdir().unwrap();
    let parts = away(root.path()).await;
    let address = parts.http.local_addr().unwrap();
    let asking = async {
        let page = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert!(page("/healthz").await.starts_with("HTTP/1.1 200 "));
        let readiness = page("/readyz").await;
        assert!(readiness.starts_with("HTTP/1.1 503 "), "{readiness}");
        assert!(readiness.ends_with("\r\n\r\nnot ready\n"), "{readiness}");
        assert!(
            !root
                .path()
                .join("run")
                .join(tulle_zds::SOCKET_NAME)
                .exists(),
            "a proxy that is told of no pods would drop those it has"
        );
    };
    tokio::select! {
        served = serve(parts) => panic!("{served:?}"),
        answered = tokio::time::timeout(Duration::from_secs(10), asking) => answered.unwrap(),
    }
}
