//! Captured means captured: what an agent finds that starts where another was. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::time::Duration;

use fixture::node::{TestNode, UID, mesh, pod, running_pod, server};
use fixture::proxy::Proxy;
use fixture::{PodNet, capture, connect, echoes, eventually, nft, on_a_node};
use tulle_agent::cluster::PodView;

const LONG: Duration = Duration::from_secs(600);

/// A secured pod whose agent and proxy have gone, and how many statuses had been stored by then.
async fn left_alone() -> (TestNode, PodNet, usize) {
    nft::prepare();
    let (mut node, net) = running_pod(mesh(LONG)).await;
    let proxy = Proxy::connect(&node).await;
    node.cluster.label("shop", Some("ambient"));
    eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
    node.stop();
    drop(proxy);
    let writes = node.cluster.writes();
    (node, net, writes)
}

/// The pod as the API server has it before kubelet has told its addresses.
fn without_addresses() -> PodView {
    PodView {
        ips: Vec::new(),
        ..pod()
    }
}

/// Whether every status stored since then says that the pod is captured.
fn is_captured_since(node: &TestNode, writes: usize) -> bool {
    let stored = node.cluster.stored.lock().unwrap();
    let is_captured = |pods: &[tulle_agent::report::PodStatus]| {
        pods.iter().any(|pod| pod.uid == UID && pod.captured)
    };
    stored[writes..].iter().all(|one| is_captured(&one.pods))
}

async fn leaves_nothing(node: &TestNode, net: &PodNet, before: &str) {
    eventually("nothing is left", || {
        net.traces() == before && node.cluster.stored_pod(UID).is_none()
    })
    .await;
    assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
}

#[test]
fn r35_while_nft_fails_a_captured_pod_stays_captured_and_is_served() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        nft::fails_in(&net);
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the proxy has it", || proxy.has(&format!("add {UID}"))).await;
        assert_eq!(proxy.messages()[0], format!("add {UID}"), "from the first");
        eventually("it says why", || node.is("Failed/RulesFailed", true)).await;
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        nft::works_in(&net);
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(is_captured_since(&node, writes));
    });
}

#[test]
fn r35_while_a_pods_namespace_cannot_be_opened_it_stays_captured() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        let namespace = node.path("proc/4242/ns/net");
        std::fs::remove_file(&namespace).unwrap();
        // It leads to itself: no process that has ended looks like that.
        std::os::unix::fs::symlink(&namespace, &namespace).unwrap();
        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        eventually("it says why", || node.is("Failed/NetnsNotFound", true)).await;
        std::fs::remove_file(&namespace).unwrap();
        std::os::unix::fs::symlink(net.pod_path(), &namespace).unwrap();
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(is_captured_since(&node, writes));
    });
}

#[test]
fn r35_a_pod_whose_addresses_are_not_posted_yet_is_taken_over() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        node.cluster.put_pod(without_addresses());
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the pod is secured", || {
            node.is("Secured/Secured", true) && proxy.has("snapshot")
        })
        .await;
        assert_eq!(proxy.messages()[0], format!("add {UID}"));
        assert_eq!(node.cluster.stored_pod(UID).unwrap().ips, PodNet::ips());
        assert!(is_captured_since(&node, writes));
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
    });
}

#[test]
fn r35_a_pod_whose_posted_addresses_are_others_is_taken_over() {
    on_a_node(async {
        let (mut node, _net, writes) = left_alone().await;
        node.cluster.put_pod(PodView {
            ips: vec!["10.99.7.7".parse().unwrap()],
            ..pod()
        });
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the pod is secured", || {
            node.is("Secured/Secured", true) && proxy.has("snapshot")
        })
        .await;
        assert_eq!(proxy.messages()[0], format!("add {UID}"), "from the first");
        assert!(is_captured_since(&node, writes));
    });
}

#[test]
fn r35_a_pod_without_any_of_its_addresses_stays_captured() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        for (ip, length) in PodNet::ips().iter().zip([24, 64]) {
            net.in_pod(&format!("ip addr del {ip}/{length} dev eth0"));
        }
        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        eventually("it says why", || node.is("Failed/NetnsNotFound", true)).await;
        net.in_pod(&format!("ip addr add {}/24 dev eth0", PodNet::ips()[0]));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(is_captured_since(&node, writes));
    });
}

#[test]
fn r35_a_pod_without_a_process_stays_captured() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        node.end_process(4242);
        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        eventually("it says why", || node.is("Failed/NetnsNotFound", true)).await;
        node.run_process(4243, UID, &net);
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(is_captured_since(&node, writes));
    });
}

#[test]
fn r35_a_pod_the_api_server_lost_goes_on_as_it_was() {
    on_a_node(async {
        let (mut node, net, writes) = left_alone().await;
        node.cluster.delete_pod(UID);
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the pod is secured", || {
            node.is("Secured/Secured", true) && proxy.has("snapshot")
        })
        .await;
        assert!(is_captured_since(&node, writes));
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        node.end_process(4242);
        eventually("it is let go of with its last process", || {
            node.cluster.stored_pod(UID).is_none()
        })
        .await;
    });
}

#[test]
fn r35_a_pod_that_left_before_its_addresses_were_posted_is_taken_out() {
    on_a_node(async {
        nft::prepare();
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let before = net.traces();
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        node.stop();
        drop(proxy);
        node.cluster.label("shop", None);
        node.cluster.put_pod(without_addresses());
        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        leaves_nothing(&node, &net, &before).await;
    });
}

#[test]
fn r35_rules_that_nobody_wants_are_taken_out_also_when_nft_fails_at_first() {
    on_a_node(async {
        nft::prepare();
        let (mut node, net) = running_pod(mesh(LONG)).await;
        node.stop();
        let before = net.traces();
        capture(&net.pod()).await;
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        leaves_nothing(&node, &net, &before).await;

        node.stop();
        drop(proxy);
        capture(&net.pod()).await;
        nft::fails_in(&net);
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the agent has looked", || proxy.has("snapshot")).await;
        assert!(node.cluster.stored_pod(UID).is_none());
        nft::works_in(&net);
        leaves_nothing(&node, &net, &before).await;

        node.stop();
        capture(&net.pod()).await;
        node.cluster.delete_pod(UID);
        node.restart().await;
        leaves_nothing(&node, &net, &before).await;
    });
}
