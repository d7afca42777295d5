//! Leaving the mesh as a user sees it, in real network namespaces with a naive proxy. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fixture::node::{UID, mesh, pod, running_pod, server};
use fixture::proxy::Proxy;
use fixture::{connect, echoes, eventually, on_a_node, run};
use tulle_agent::cluster::PodView;
use tulle_agent::report::{PodState, PodStatus};

const LONG: Duration = Duration::from_secs(600);

#[test]
fn leaving_the_mesh_keeps_proxied_connections_until_they_end_and_leaves_nothing() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        let out = connect(&net.pod(), &server()).await.unwrap();
        let inward = connect(&net.outside(), "10.99.0.2:8000").await.unwrap();
        assert!(echoes(&out) && echoes(&inward));

        node.cluster.label("shop", None);
        eventually("the proxy is told", || proxy.has(&format!("del {UID}"))).await;
        assert!(
            echoes(&out) && echoes(&inward),
            "what the proxy has flows on"
        );
        let direct = connect(&net.pod(), &server()).await.unwrap();
        assert!(echoes(&direct));
        assert_eq!(
            proxy.seen.outbound.load(Ordering::SeqCst),
            1,
            "new connections pass"
        );
        drop((out, inward));
        eventually("nothing is left", || net.traces() == before).await;
        eventually("the entry is gone", || {
            node.cluster.stored_pod(UID).is_none()
        })
        .await;
        assert!(!run("nft list table inet tulle_node").contains("10.99.0.2"));
    });
}

#[test]
fn r30_a_pod_that_leaves_is_served_until_control_has_told_its_peers() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        // Control is away: what it said last stands.
        proxy.status.announces(true);
        node.cluster.label("shop", None);
        eventually("it is leaving", || node.is("Pending/Leaving", false)).await;
        let asked = proxy.status.asked();
        eventually("the proxy is asked for longer than a second", || {
            proxy.status.asked() > asked + 8
        })
        .await;
        assert!(!proxy.has(&format!("del {UID}")), "{:?}", proxy.messages());
        assert!(net.in_pod("nft list ruleset").contains("redirect"));
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        assert_eq!(proxy.seen.outbound.load(Ordering::SeqCst), 1);
        let message = node.cluster.stored_pod(UID).unwrap().message;
        assert!(message.contains("tulle-control"), "{message}");

        proxy.status.announces(false);
        eventually("nothing is left", || net.traces() == before).await;
        assert!(proxy.has(&format!("del {UID}")));
    });
}

#[test]
fn r40_a_pod_that_opts_out_is_named_and_counted_and_comes_back() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        let out = PodView {
            mode: Some("none".into()),
            ..pod()
        };
        node.cluster.put_pod(out);
        eventually("it is out", || {
            node.is("OptedOut/PodLabel", false) && net.traces() == before
        })
        .await;
        let message = node.cluster.stored_pod(UID).unwrap().message;
        assert!(message.contains("mesh.tulle.dev/mode=none"), "{message}");
        assert_eq!(node.cluster.last().counts.unwrap().opted_out, 1);

        node.cluster.put_pod(pod());
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        node.cluster.label("shop", None);
        eventually("nobody wants it in", || {
            node.cluster.stored_pod(UID).is_none()
        })
        .await;
        let stored = node.cluster.stored.lock().unwrap();
        let opted_out = |pod: &PodStatus| pod.state == PodState::OptedOut && pod.captured;
        assert!(!stored.iter().flat_map(|one| &one.pods).any(opted_out));
    });
}

#[test]
fn labelling_and_unlabelling_in_haste_converges_on_the_last_word() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let _proxy = Proxy::connect(&node).await;
        for turn in 0..10 {
            node.cluster
                .label("shop", (turn % 2 == 0).then_some("ambient"));
            tokio::time::sleep(Duration::from_millis(37)).await;
        }
        eventually("it is out", || {
            node.cluster.stored_pod(UID).is_none() && net.traces() == before
        })
        .await;
        for turn in 0..11 {
            node.cluster
                .label("shop", (turn % 2 == 0).then_some("ambient"));
            tokio::time::sleep(Duration::from_millis(37)).await;
        }
        eventually("it is in", || node.is("Secured/Secured", true)).await;
    });
}

#[test]
fn a_label_taken_off_while_the_agent_was_away_is_followed() {
    on_a_node(async {
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        node.stop();
        drop(proxy);
        node.cluster.label("shop", None);
        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        eventually("nothing is left", || {
            net.traces() == before && node.cluster.stored_pod(UID).is_none()
        })
        .await;
    });
}

#[test]
fn after_the_mesh_nothing_is_left_on_the_node_and_a_new_mesh_comes_back() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        eventually("the plugin is installed", || {
            node.cluster.has_condition("Ready", "True")
        })
        .await;
        assert!(
            node.path("conf/00-tulle.conflist").exists() && node.path("bin/tulle-cni").exists()
        );
        let enrolled = std::fs::read_to_string(node.path("run/enrolled-namespaces.json")).unwrap();
        assert_eq!(enrolled, r#"{"namespaces":["shop"]}"#);

        node.cluster.set_mesh(None);
        eventually("the node is released", || {
            node.cluster.has_condition("Released", "True")
        })
        .await;
        assert!(*node.released.borrow());
        assert_eq!(net.traces(), before);
        assert!(proxy.has(&format!("del {UID}")));
        assert_eq!(run("nft list tables"), "");
        assert!(
            !node.path("conf/00-tulle.conflist").exists() && !node.path("bin/tulle-cni").exists()
        );
        assert!(!node.path("run/enrolled-namespaces.json").exists());
        assert!(node.cluster.last().pods.is_empty());

        node.cluster.set_mesh(Some(mesh(LONG)));
        eventually("the pod is secured again", || {
            node.is("Secured/Secured", true)
        })
        .await;
        eventually("it says so", || {
            node.cluster.has_condition("Released", "False")
        })
        .await;
        eventually("the plugin is back", || {
            node.path("conf/00-tulle.conflist").exists()
        })
        .await;
    });
}
