//! Enrolment as a user sees it, in real network namespaces with a naive proxy. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ground;

use std::io::ErrorKind::WouldBlock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ground::node::{UID, mesh, pod, running_pod, server};
use ground::proxy::Proxy;
use ground::{PodNet, connect, echo_server, echoes, eventually, on_a_node, run};
use tulle_agent::cluster::PodView;
use tulle_agent::report::{PodState, PodStatus};

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_labelled_pod_is_secured_and_its_new_connections_go_through_the_proxy_both_ways() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;

        let out = connect(&net.pod(), &server()).await.unwrap();
        assert!(echoes(&out));
        assert_eq!(proxy.seen.outbound.load(Ordering::SeqCst), 1);
        let inward = connect(&net.outside(), "10.99.0.2:8000").await.unwrap();
        assert!(echoes(&inward));
        assert_eq!(proxy.seen.inbound.load(Ordering::SeqCst), 1);

        let entry = node.cluster.stored_pod(UID).unwrap();
        assert_eq!(
            (
                entry.namespace.as_str(),
                entry.name.as_str(),
                entry.service_account.as_str()
            ),
            ("shop", "cart", "cart")
        );
        assert_eq!(entry.ips, PodNet::ips());
        let table = run("nft list table inet tulle_node");
        assert!(
            table.contains("10.99.0.2") && table.contains("fd99::2"),
            "{table}"
        );
    });
}

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
fn a_lost_proxy_fails_the_pod_closed_and_the_next_one_serves_what_waits() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("there is no proxy", || node.is("Failed/NoProxy", false)).await;
        let proxy = Proxy::connect(&node).await;
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;

        drop(proxy);
        eventually("the proxy is down", || node.is("Failed/ProxyDown", true)).await;
        let waiting = connect(&net.pod(), &server()).await.unwrap();
        let is_silent = || {
            waiting
                .peek(&mut [0])
                .is_err_and(|e| e.kind() == WouldBlock)
        };
        waiting.set_nonblocking(true).unwrap();
        assert!(
            is_silent(),
            "nothing leaves in plaintext, nothing is refused"
        );
        waiting.set_nonblocking(false).unwrap();
        let again = Proxy::connect(&node).await;
        eventually("the pod is secured again", || {
            node.is("Secured/Secured", true)
        })
        .await;
        assert!(echoes(&waiting), "it waited for the proxy");
        assert_eq!(again.seen.outbound.load(Ordering::SeqCst), 1);
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        assert_eq!(
            again.messages()[..2],
            [format!("add {UID}"), "snapshot".to_owned()]
        );
    });
}

#[test]
fn a_newer_proxy_takes_the_pods_over_before_the_older_one_goes() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let older = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        older.seen.messages.lock().unwrap().clear();
        let newer = Proxy::refusing(&node, "cannot listen").await;
        eventually("the newer one is asked", || newer.has("snapshot")).await;
        assert!(
            node.is("Secured/Secured", true),
            "the older one still serves it"
        );
        assert!(older.messages().is_empty(), "the older one is left alone");
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
    });
}

#[test]
fn an_agent_restart_takes_the_pod_over_without_letting_it_go() {
    on_a_node(async {
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        let writes = node.cluster.writes();

        node.stop();
        eventually("the proxy notices", || proxy.messages().len() >= 2).await;
        drop(proxy);
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the proxy is told again", || proxy.messages().len() >= 2).await;
        eventually("the pod is secured again", || {
            node.is("Secured/Secured", true)
        })
        .await;
        assert_eq!(
            proxy.messages()[..2],
            [format!("add {UID}"), "snapshot".to_owned()]
        );
        let stored = node.cluster.stored.lock().unwrap().split_off(writes);
        assert!(
            stored.iter().all(|status| status
                .pods
                .iter()
                .any(|pod| pod.uid == UID && pod.captured && pod.state != PodState::Failed)),
            "it was announced all the time"
        );
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
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
fn what_stands_in_the_way_is_named() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        node.cluster.label("shop", Some("ambient"));
        let refusing = Proxy::refusing(&node, "certificate: caller not allowed").await;
        eventually("the certificate was refused", || {
            node.is("Failed/CertificateRefused", false)
        })
        .await;
        assert!(
            node.cluster
                .stored_pod(UID)
                .unwrap()
                .message
                .contains("caller not allowed")
        );
        drop(refusing);

        let host = PodView {
            uid: "host".into(),
            host_network: true,
            ..pod()
        };
        node.cluster.put_pod(host);
        eventually("the pod on the node's network is named", || {
            node.cluster
                .stored_pod("host")
                .is_some_and(|pod| pod.reason == "HostNetwork" && !pod.captured)
        })
        .await;
        let mistyped = PodView {
            uid: "mistyped".into(),
            namespace: "bank".into(),
            mode: Some("Ambient".into()),
            ..pod()
        };
        node.cluster.label("bank", None);
        node.cluster.put_pod(mistyped);
        eventually("the pod with a typing error in its label is named", || {
            node.cluster.stored_pod("mistyped").is_some_and(|pod| {
                pod.reason == "UnknownMode" && pod.message.contains("\"Ambient\"")
            })
        })
        .await;
        node.cluster.delete_pod("host");
        eventually("it is gone", || node.cluster.stored_pod("host").is_none()).await;
        assert!(!net.in_pod("nft list ruleset").contains("tulle"));
    });
}

#[test]
fn a_pod_that_listens_on_the_meshs_port_itself_stays_outside_and_says_so() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        echo_server(&net.pod(), "[::]:15008").await;
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the port is in use", || node.is("Failed/PortInUse", false)).await;
        assert!(
            node.cluster
                .stored_pod(UID)
                .unwrap()
                .message
                .contains("15008")
        );
        assert!(
            echoes(&connect(&net.pod(), &server()).await.unwrap()),
            "it works on as before"
        );
    });
}

#[test]
fn an_api_server_that_lost_its_memory_undoes_nothing() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        eventually("the plugin is installed", || {
            node.path("conf/00-tulle.conflist").exists()
        })
        .await;
        node.cluster.forget_everything();
        // The agent acts on a view at once; that it does not can only be seen by waiting.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(node.is("Secured/Secured", true) && !proxy.has(&format!("del {UID}")));
        assert!(!*node.released.borrow());
        assert!(
            node.path("conf/00-tulle.conflist").exists(),
            "new pods are captured as before"
        );
        assert!(net.in_pod("nft list ruleset").contains("redirect"));
    });
}

#[test]
fn a_pod_that_has_ended_is_let_go_of() {
    on_a_node(async {
        let (node, _net) = running_pod(mesh(LONG)).await;
        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        node.end_process(4242);
        node.cluster.delete_pod(UID);
        eventually("the proxy is told", || proxy.has(&format!("del {UID}"))).await;
        eventually("the entry is gone", || {
            node.cluster.stored_pod(UID).is_none()
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
