//! Connections that a proxy carries in plaintext to a peer that has joined since. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ground;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ground::node::{TestNode, UID, mesh, running_pod};
use ground::proxy::Proxy;
use ground::{PodNet, eventually, on_a_node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tulle_agent::cluster::MeshView;
use tulle_agent::sockets::Policy;

const LONG: Duration = Duration::from_secs(600);

/// A proxy's status socket that says what a test wants, and notes what is ordered.
#[derive(Clone, Default)]
struct StatusSocket(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    carried: usize,
    orders: Vec<serde_json::Value>,
    /// Whether quiet ones are ended as ordered.
    quiet: bool,
}

impl StatusSocket {
    fn serve(directory: &Path) -> Self {
        let said = Self::default();
        std::fs::create_dir_all(directory).unwrap();
        let listener = UnixListener::bind(directory.join("proxy-1.sock")).unwrap();
        let answering = said.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) && stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
                let body = answering.answer(&String::from_utf8(request).unwrap());
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        said
    }

    fn answer(&self, request: &str) -> String {
        let mut said = self.0.lock().unwrap();
        if !request.starts_with("POST /older/end ") {
            let carried = said.carried;
            return serde_json::json!({
                "version": "test", "ready": true, "trustBundleSha256": null,
                "workloads": [{ "uid": UID, "olderConnections": carried }],
            })
            .to_string();
        }
        let body = request.split_once("\r\n\r\n").unwrap().1;
        let order: serde_json::Value = serde_json::from_str(body).unwrap();
        let by_force = order["quietMilliseconds"].is_null();
        said.orders.push(order);
        let ended = if by_force || said.quiet {
            std::mem::take(&mut said.carried)
        } else {
            0
        };
        serde_json::json!({ "ended": ended }).to_string()
    }

    fn carries(&self, count: usize) {
        self.0.lock().unwrap().carried = count;
    }

    fn orders(&self) -> Vec<serde_json::Value> {
        self.0.lock().unwrap().orders.clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}

/// A pod that is secured, its proxy, and the proxy's status.
async fn secured(mesh: MeshView) -> (TestNode, PodNet, Proxy, StatusSocket) {
    let (node, net) = running_pod(mesh).await;
    let proxy = Proxy::connect(&node.zds()).await;
    let status = StatusSocket::serve(&node.path("run").join("proxies"));
    node.cluster.label("shop", Some("ambient"));
    eventually("it is secured", || node.is("Secured/Secured", true)).await;
    (node, net, proxy, status)
}

#[test]
fn a_secured_pod_is_pending_while_a_proxy_carries_what_is_older_than_a_peers_joining() {
    on_a_node(async {
        let (node, _net, _proxy, status) = secured(mesh(LONG)).await;
        status.carries(2);
        eventually("it is pending", || {
            node.is("Pending/OlderConnections", true)
        })
        .await;
        let pod = node.cluster.stored_pod(UID).unwrap();
        assert_eq!(pod.older_connections, 2);
        assert!(pod.message.starts_with("2 connections"), "{}", pod.message);
        assert!(status.orders().is_empty(), "within the grace");
        status.carries(0);
        eventually("they ended by themselves", || {
            node.is("Secured/Secured", true)
        })
        .await;
    });
}

#[test]
fn the_proxy_is_told_to_end_them_after_the_grace_when_quiet_and_then_by_force() {
    on_a_node(async {
        let (node, _net, _proxy, status) = secured(mesh(Duration::from_secs(2))).await;
        status.carries(1);
        eventually("it is ended", || {
            status.0.lock().unwrap().carried == 0 && node.is("Secured/Secured", true)
        })
        .await;
        let orders = status.orders();
        let quiet = serde_json::json!({ "uid": UID, "quietMilliseconds": 1000 });
        let force = serde_json::json!({ "uid": UID, "quietMilliseconds": null });
        assert_eq!((&orders[0], orders.contains(&force)), (&quiet, true));

        status.0.lock().unwrap().quiet = true;
        status.carries(1);
        let before = orders.len();
        eventually("the next is ended in a quiet moment", || {
            status.0.lock().unwrap().carried == 0
        })
        .await;
        assert_eq!(
            status.orders()[before..],
            [quiet],
            "with a grace of its own"
        );
    });
}

#[test]
fn with_policy_keep_they_are_reported_and_left() {
    on_a_node(async {
        let keep = MeshView {
            existing_connections: Policy::Keep,
            ..mesh(LONG)
        };
        let (node, _net, _proxy, status) = secured(keep).await;
        status.carries(1);
        eventually("it is pending", || {
            node.is("Pending/OlderConnections", true)
        })
        .await;
        let message = node.cluster.stored_pod(UID).unwrap().message;
        assert!(message.contains("kept, as the Mesh says"), "{message}");
        assert!(status.orders().is_empty());
    });
}
