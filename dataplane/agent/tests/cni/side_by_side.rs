//! Pods that start while others cannot be served.
use crate::fixture::node::{TestNode, UID, mesh};
use crate::fixture::proxy::{Manner, PLAIN, Proxy};
use crate::fixture::{PodNet, eventually, on_a_node};
use crate::{LONG, call, environment, starting};
use std::time::Instant;
use tulle_agent::cluster::PodView;
use tulle_agent::report::PodState;
use tulle_cni::Environment;

const BAD_UID: &str = "3f0c2a6e-6b1a-4a39-9d52-0a4d1c1e8f12";

/// A pod beside the other, of the service account `bad`.
fn bad() -> PodView {
    PodView {
        uid: BAD_UID.into(),
        name: "bad".into(),
        service_account: "bad".into(),
        ..starting()
    }
}

fn bad_environment(command: &str, net: &PodNet, container: &str) -> Environment {
    let other = environment(command, net, container);
    Environment {
        args: other
            .args
            .map(|args| args.replace("cart", "bad").replace(UID, BAD_UID)),
        ..other
    }
}

/// A node in the mesh with a proxy of this manner, and two pods that are about to start.
async fn node_with(manner: Manner) -> (TestNode, Proxy) {
    let node = TestNode::start(mesh(LONG)).await;
    let proxy = Proxy::with(&node, manner).await;
    eventually("the node is ready", || {
        node.cluster.has_condition("Ready", "True")
    })
    .await;
    node.cluster.label("shop", Some("ambient"));
    node.cluster.put_pod(starting());
    node.cluster.put_pod(bad());
    (node, proxy)
}

#[test]
fn r38_a_pod_without_a_certificate_delays_no_other_pods_start() {
    on_a_node(async {
        let manner = Manner {
            unanswered: Some("bad"),
            ..PLAIN
        };
        let (node, proxy) = node_with(manner).await;
        let (net, of_bad) = (PodNet::new(), PodNet::new());
        let waiting = async {
            let refused = call(&node, bad_environment("ADD", &of_bad, "c1")).await;
            let message = refused.unwrap_err().message;
            assert!(message.contains("ProxyBusy"), "{message}");
        };
        let starting = async {
            let asked = || proxy.has(&format!("unanswered {BAD_UID}"));
            eventually("the bad pod is handed over", asked).await;
            let start = Instant::now();
            call(&node, environment("ADD", &net, "c2")).await.unwrap();
            assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        };
        tokio::join!(waiting, starting);
    });
}

#[test]
fn r38_a_definite_refusal_ends_a_pods_start_at_once_and_stays_in_the_nodes_status() {
    on_a_node(async {
        let manner = Manner {
            unentitled: Some("bad"),
            ..PLAIN
        };
        let (node, _proxy) = node_with(manner).await;
        let net = PodNet::new();
        let start = Instant::now();
        let refused = call(&node, bad_environment("ADD", &net, "c1")).await;
        let message = refused.unwrap_err().message;
        assert!(message.contains("PermissionDenied"), "{message}");
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        let is_told = || {
            let entry = node.cluster.stored_pod(BAD_UID);
            entry.is_some_and(|entry| {
                entry.state == PodState::Failed && entry.reason == "CertificateRefused"
            })
        };
        eventually("the reason is told", is_told).await;

        let writes = node.cluster.writes();
        call(&node, bad_environment("DEL", &net, "c1"))
            .await
            .unwrap();
        // What is written after the end of the first attempt, and of the second, tells of it.
        call(&node, environment("ADD", &PodNet::new(), "c2"))
            .await
            .unwrap();
        let again = call(&node, bad_environment("ADD", &PodNet::new(), "c3")).await;
        again.unwrap_err();
        let stored = node.cluster.stored.lock().unwrap().split_off(writes);
        assert!(stored.len() > 1);
        for status in &stored {
            let entry = status.pods.iter().find(|pod| pod.uid == BAD_UID).unwrap();
            assert_eq!(entry.state, PodState::Failed, "{entry:?}");
        }
        node.cluster.delete_pod(BAD_UID);
        eventually("the entry of a pod that is gone is gone", || {
            node.cluster.stored_pod(BAD_UID).is_none()
        })
        .await;
    });
}

#[test]
fn r38_a_new_proxy_that_answers_nothing_blocks_no_pods_start_beside_a_healthy_one() {
    on_a_node(async {
        let (node, healthy) = node_with(PLAIN).await;
        eventually("it has settled", || healthy.has("snapshot")).await;
        let broken = Manner {
            unanswered: Some("cart"),
            ..PLAIN
        };
        let broken = Proxy::with(&node, broken).await;
        call(&node, bad_environment("ADD", &PodNet::new(), "c1"))
            .await
            .unwrap();
        let start = Instant::now();
        call(&node, environment("ADD", &PodNet::new(), "c2"))
            .await
            .unwrap();
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        assert!(healthy.has(&format!("add {UID}")));
        eventually("the new one is asked too", || {
            broken.has(&format!("unanswered {UID}"))
        })
        .await;
    });
}

#[test]
fn r38_a_proxy_of_before_is_asked_one_thing_at_a_time() {
    on_a_node(async {
        let manner = Manner {
            answers_in_any_order: false,
            ..PLAIN
        };
        let (node, proxy) = node_with(manner).await;
        call(&node, environment("ADD", &PodNet::new(), "c1"))
            .await
            .unwrap();
        // That no request carries a number the proxy itself looks after.
        assert!(proxy.has("snapshot") && proxy.has(&format!("add {UID}")));
    });
}
