//! Enrolment as a user sees it, in real network namespaces with a naive proxy. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::io::ErrorKind::WouldBlock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fixture::node::{UID, mesh, pod, running_pod, server};
use fixture::proxy::Proxy;
use fixture::{PodNet, connect, echo_server, echoes, eventually, on_a_node, run};
use tulle_agent::cluster::PodView;
use tulle_agent::report::PodState;

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
fn r25_a_newer_proxy_that_refuses_is_asked_again_while_the_older_one_serves() {
    on_a_node(async {
        let (node, _net) = running_pod(mesh(LONG)).await;
        let _older = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        let newer = Proxy::refusing(&node, "no answer from the control plane's xDS yet").await;
        let asked = || {
            let messages = newer.messages();
            let add = format!("add {UID}");
            messages.iter().filter(|message| **message == add).count()
        };
        eventually("it is asked again", || asked() > 2).await;
        assert!(node.is("Secured/Secured", true));
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
fn what_stands_in_the_way_is_named() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        node.cluster.label("shop", Some("ambient"));
        let refusing = Proxy::without_certificates(&node, "caller not allowed").await;
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
fn r31_the_rules_follow_the_pods_addresses_and_probe_ports() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        node.cluster.put_pod(PodView {
            ips: vec![PodNet::ips()[0]],
            ..pod()
        });
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(!run("nft list table inet tulle_node").contains(&PodNet::ips()[1].to_string()));
        node.cluster.put_pod(PodView {
            probe_ports: [8181].into(),
            ..pod()
        });
        eventually("the pod's rules have the port", || {
            net.in_pod("nft list ruleset").contains("8181")
        })
        .await;
        eventually("the node's have the address", || {
            run("nft list table inet tulle_node").contains(&PodNet::ips()[1].to_string())
        })
        .await;
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
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
