//! Connections older than the label, in real network namespaces with a naive proxy. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fixture::node::{UID, mesh, running_pod, server};
use fixture::proxy::Proxy;
use fixture::{OUTSIDE_IP, connect, connect_from, echo_server, echoes, eventually, on_a_node};
use tulle_agent::cluster::MeshView;
use tulle_agent::sockets::Policy;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn connections_older_than_the_label_flow_on_are_counted_and_ended_after_the_grace() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let out = connect(&net.pod(), &server()).await.unwrap();
        let inward = connect(&net.outside(), "10.99.0.2:8000").await.unwrap();
        assert!(echoes(&out) && echoes(&inward));

        let proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("they are counted", || {
            node.cluster
                .stored_pod(UID)
                .is_some_and(|pod| pod.existing_connections == 2)
        })
        .await;
        assert!(
            node.is("Pending/ExistingConnections", true),
            "{:?}",
            node.state()
        );
        assert!(
            node.cluster
                .stored_pod(UID)
                .unwrap()
                .message
                .starts_with("2 existing connections")
        );
        assert!(echoes(&out) && echoes(&inward), "they flow on");
        assert_eq!(
            proxy.seen.outbound.load(Ordering::SeqCst) + proxy.seen.inbound.load(Ordering::SeqCst),
            0
        );

        let newer = connect(&net.pod(), &server()).await.unwrap();
        assert!(echoes(&newer));
        node.cluster.set_mesh(Some(mesh(Duration::from_secs(2))));
        eventually("they are ended", || node.is("Secured/Secured", true)).await;
        assert!(!echoes(&out) && !echoes(&inward), "they are ended");
        assert!(echoes(&newer), "what goes through the proxy is left alone");
        assert_eq!(
            node.cluster.stored_pod(UID).unwrap().existing_connections,
            0
        );
    });
}

#[test]
fn with_policy_keep_existing_connections_are_counted_and_never_ended() {
    on_a_node(async {
        let keep = MeshView {
            existing_connections: Policy::Keep,
            ..mesh(LONG)
        };
        let (node, net) = running_pod(keep).await;
        let out = connect(&net.pod(), &server()).await.unwrap();
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("it is counted", || {
            node.is("Pending/ExistingConnections", true)
        })
        .await;
        assert!(echoes(&out));
        drop(out);
        eventually("it has ended by itself", || {
            node.is("Secured/Secured", true)
        })
        .await;
    });
}

#[test]
fn proxied_connections_that_share_a_local_port_are_not_taken_for_older_ones() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(Duration::from_secs(2))).await;
        echo_server(&net.outside(), "0.0.0.0:7001").await;
        let older = connect(&net.pod(), &server()).await.unwrap();
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the older one is counted", || {
            node.is("Pending/ExistingConnections", true)
        })
        .await;
        // The redirect gives the second one another source port on its way to the proxy.
        let one = connect_from(&net.pod(), 33333, &server()).await;
        let other = connect_from(&net.pod(), 33333, &format!("{OUTSIDE_IP}:7001")).await;
        assert!(echoes(&one) && echoes(&other));
        eventually("the older one is ended", || {
            node.is("Secured/Secured", true)
        })
        .await;
        assert!(!echoes(&older));
        assert!(echoes(&one) && echoes(&other));
    });
}
