//! The rules in a real network namespace. Needs root, `nft` and `ip`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::net::TcpStream;

use fixture::{
    OUTSIDE_IP, PodNet, capture, connect, connect_from, echo_server, echoes, on_a_node, rules, run,
};
use nix::sys::socket::{setsockopt, sockopt};
use tulle_agent::rules::{NodeAddresses, Phase, RuleInstaller};

#[test]
fn rules_are_written_whole_changed_whole_and_leave_nothing() {
    on_a_node(async {
        let net = PodNet::new();
        let before = net.traces();
        let pod = net.pod();
        assert!(!RuleInstaller.has_pod_rules(&pod).await.unwrap());

        capture(&pod).await;
        assert!(RuleInstaller.has_pod_rules(&pod).await.unwrap());
        let table: serde_json::Value =
            serde_json::from_str(&net.in_pod("nft -j list table inet tulle")).unwrap();
        let chains: Vec<&str> = table["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item["chain"]["name"].as_str())
            .collect();
        assert_eq!(
            chains,
            [
                "zone_output",
                "mangle_output",
                "mangle_postrouting",
                "nat_prerouting",
                "nat_output",
                "filter_input",
                "filter_output"
            ]
        );

        let captured = net.traces();
        capture(&pod).await;
        assert_eq!(net.traces(), captured, "writing again changes nothing");

        RuleInstaller
            .write_pod_rules(&pod, rules(Phase::Drain, &[]), true)
            .await
            .unwrap();
        let drained = net.in_pod("nft list table inet tulle");
        assert!(
            !drained.contains("redirect") && drained.contains("ct mark"),
            "{drained}"
        );

        RuleInstaller.remove_pod_rules(&pod).await.unwrap();
        assert_eq!(net.traces(), before);
        RuleInstaller.remove_pod_rules(&pod).await.unwrap();
        assert_eq!(net.traces(), before, "removing again is no error");
    });
}

/// Connection tracking ends with the rules, and what it held then is never told how it went on. Taken up again by later rules it
/// would claim the first packet of another connection, which is then refused.
#[test]
fn r30_a_pod_that_comes_back_may_use_the_ports_it_had_when_it_left() {
    on_a_node(async {
        let net = PodNet::new();
        let pod = net.pod();
        echo_server(&net.outside(), "0.0.0.0:7000").await;
        // Where the redirects lead.
        echo_server(&pod, "127.0.0.1:15001").await;
        let out = format!("{OUTSIDE_IP}:7000");
        for (port, phase) in [(41_000, Phase::Drain), (41_001, Phase::Capture)] {
            RuleInstaller
                .write_pod_rules(&pod, rules(phase, &[]), true)
                .await
                .unwrap();
            let open = connect_from(&pod, port, &out).await;
            assert!(echoes(&open));
            RuleInstaller.remove_pod_rules(&pod).await.unwrap();
            abort(open);
            capture(&pod).await;
            assert!(echoes(&connect_from(&pod, port, &out).await), "{phase:?}");
        }
    });
}

/// Ends a connection by a reset, so that its port is free at once.
fn abort(stream: TcpStream) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &at_once).unwrap();
}

#[test]
fn a_captured_pod_without_a_proxy_sends_nothing_in_plaintext() {
    on_a_node(async {
        let net = PodNet::new();
        echo_server(&net.outside(), "0.0.0.0:7000").await;
        echo_server(&net.pod(), "0.0.0.0:8000").await;
        let out = format!("{OUTSIDE_IP}:7000");
        assert!(
            echoes(&connect(&net.pod(), &out).await.unwrap()),
            "before the rules"
        );
        capture(&net.pod()).await;
        assert!(connect(&net.pod(), &out).await.is_err(), "out");
        assert!(
            connect(&net.pod(), "[fd99::1]:7000").await.is_err(),
            "out, IPv6"
        );
        assert!(
            connect(&net.outside(), "10.99.0.2:8000").await.is_err(),
            "in"
        );
        assert!(
            echoes(&connect(&net.pod(), "127.0.0.1:8000").await.unwrap()),
            "to itself, by loopback"
        );
        assert!(
            echoes(&connect(&net.pod(), "10.99.0.2:8000").await.unwrap()),
            "to itself, by its address"
        );
    });
}

#[test]
fn what_the_node_sends_to_an_enrolled_pod_comes_from_the_nodes_source_address() {
    on_a_node(async {
        let pod = PodNet::on_this_node();
        let listener = pod
            .pod()
            .run(|| std::net::TcpListener::bind("[::]:8000"))
            .await
            .unwrap();
        let sources = || {
            ["10.99.0.2:8000", "[fd99::2]:8000"].map(|address| {
                let _probe = std::net::TcpStream::connect(address).unwrap();
                listener.accept().unwrap().1.ip().to_canonical().to_string()
            })
        };
        let addresses = NodeAddresses::new(RuleInstaller);
        addresses.add("u1", &PodNet::ips()).await.unwrap();
        assert_eq!(
            sources(),
            ["10.99.0.1", "fd99::1"],
            "nothing is written before the pods enrolled before are known"
        );
        addresses.open().await.unwrap();
        assert_eq!(
            sources(),
            ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"]
        );
        addresses.add("u2", &PodNet::ips()).await.unwrap();
        addresses.remove("u1").await.unwrap();
        assert_eq!(
            sources()[0],
            "169.254.7.127",
            "the address passed to another pod"
        );
        addresses.remove("u2").await.unwrap();
        assert_eq!(sources(), ["10.99.0.1", "fd99::1"]);
        addresses.clear().await.unwrap();
        assert_eq!(run("nft list tables"), "");
    });
}
