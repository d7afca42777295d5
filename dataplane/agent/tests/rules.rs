//! The rules in a real network namespace. Needs root, `nft` and `ip`.
mod ground;

use ground::{OUTSIDE_IP, PodNet, connect, echo_server, echoes, on_a_node};
use tulle_agent::rules::{PodRules, Ruler};

#[test]
fn rules_are_written_whole_changed_whole_and_leave_nothing() {
    on_a_node(async {
        let net = PodNet::new();
        let before = net.traces();
        let pod = net.pod();
        assert!(!Ruler.has_pod_rules(&pod).await.unwrap());

        Ruler
            .write_pod_rules(&pod, PodRules::Capture, true)
            .await
            .unwrap();
        assert!(Ruler.has_pod_rules(&pod).await.unwrap());
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
                "mangle_prerouting",
                "mangle_output",
                "nat_prerouting",
                "nat_output"
            ]
        );

        let captured = net.traces();
        Ruler
            .write_pod_rules(&pod, PodRules::Capture, true)
            .await
            .unwrap();
        assert_eq!(net.traces(), captured, "writing again changes nothing");

        Ruler
            .write_pod_rules(&pod, PodRules::Drain, true)
            .await
            .unwrap();
        let drained = net.in_pod("nft list table inet tulle");
        assert!(
            !drained.contains("redirect") && drained.contains("ct mark"),
            "{drained}"
        );

        Ruler.remove_pod_rules(&pod).await.unwrap();
        assert_eq!(net.traces(), before);
        Ruler.remove_pod_rules(&pod).await.unwrap();
        assert_eq!(net.traces(), before, "removing again is no error");
    });
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
        Ruler
            .write_pod_rules(&net.pod(), PodRules::Capture, true)
            .await
            .unwrap();
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
