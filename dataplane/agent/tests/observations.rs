//! Proxies that are connected, and what they see of a pod: whether peers are told to tunnel to it,
//! and connections that are carried in plaintext all the same. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::time::Duration;

use fixture::node::{TestNode, UID, mesh, running_pod};
use fixture::proxy::Proxy;
use fixture::status::Status;
use fixture::{PodNet, eventually, on_a_node};
use tulle_agent::cluster::MeshView;
use tulle_agent::sockets::Policy;

const LONG: Duration = Duration::from_secs(600);

/// A pod that is secured, its proxy, and the proxy's status.
async fn secured(mesh: MeshView) -> (TestNode, PodNet, Proxy, Status) {
    let (node, net) = running_pod(mesh).await;
    let proxy = Proxy::connect(&node).await;
    let status = proxy.status.clone();
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
            node.is("Pending/ExistingConnections", true)
        })
        .await;
        let pod = node.cluster.stored_pod(UID).unwrap();
        assert_eq!(pod.existing_connections, 2);
        assert!(
            pod.message.starts_with("2 existing connections"),
            "{}",
            pod.message
        );
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
            status.carried() == 0 && node.is("Secured/Secured", true)
        })
        .await;
        let orders = status.orders();
        let quiet = serde_json::json!({ "uid": UID, "quietMilliseconds": 1000 });
        let force = serde_json::json!({ "uid": UID, "quietMilliseconds": null });
        assert_eq!((&orders[0], orders.contains(&force)), (&quiet, true));

        status.ends_quiet_ones();
        status.carries(1);
        let before = orders.len();
        eventually("the next is ended in a quiet moment", || {
            status.carried() == 0
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
            node.is("Pending/ExistingConnections", true)
        })
        .await;
        let message = node.cluster.stored_pod(UID).unwrap().message;
        assert!(message.contains("kept, as the Mesh says"), "{message}");
        assert!(status.orders().is_empty());
    });
}

#[test]
fn a_pod_is_secured_only_once_peers_are_told_to_tunnel_to_it() {
    on_a_node(async {
        let (node, _net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        proxy.status.announces(false);
        node.cluster.label("shop", Some("ambient"));
        eventually("it is captured, and that is not enough", || {
            node.is("Pending/Announcing", true)
        })
        .await;
        proxy.status.announces(true);
        eventually("it is secured", || node.is("Secured/Secured", true)).await;
        proxy.status.announces(false);
        eventually("it is not any more", || node.is("Pending/Announcing", true)).await;
    });
}

#[test]
fn r24_a_running_pod_is_captured_only_once_control_says_that_it_is_being_enrolled() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        proxy.status.enrols(false);
        node.cluster.label("shop", Some("ambient"));
        eventually("the proxy serves it", || proxy.has(&format!("add {UID}"))).await;
        let asked = proxy.status.asked();
        eventually("the proxy is asked", || proxy.status.asked() > asked + 2).await;
        assert!(!net.in_pod("nft list ruleset").contains("redirect"));
        proxy.status.enrols(true);
        eventually("it is secured", || node.is("Secured/Secured", true)).await;
    });
}

#[test]
fn r34_what_a_draining_proxy_carries_keeps_the_pod_pending_until_it_has_ended() {
    on_a_node(async {
        let (mut node, _net, older, status) = secured(mesh(LONG)).await;
        let _newer = Proxy::connect(&node).await;
        eventually("the newer one serves", || _newer.has("snapshot")).await;
        // What a draining proxy last heard of control has no say.
        status.announces(false);
        older.drain();
        status.carries(2);
        eventually("it is pending", || {
            node.is("Pending/ExistingConnections", true)
        })
        .await;
        assert_eq!(
            node.cluster.stored_pod(UID).unwrap().existing_connections,
            2
        );

        // An agent that has never been connected to it asks it too.
        node.restart().await;
        let _newer = Proxy::connect(&node).await;
        let asked = status.asked();
        eventually("it is asked", || status.asked() > asked + 3).await;
        assert!(
            node.is("Pending/ExistingConnections", true),
            "{:?}",
            node.state()
        );
        node.cluster.set_mesh(Some(mesh(Duration::ZERO)));
        eventually("it ends them as ordered", || !status.orders().is_empty()).await;
        drop(older);
        eventually("it is secured", || node.is("Secured/Secured", true)).await;
    });
}
