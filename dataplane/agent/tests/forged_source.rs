//! Packets that claim to come from the node, sent by a pod of it. Needs root, `nft` and `ip`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::net::SocketAddr;

use fixture::forge::{bare_ack, tagged_ack};
use fixture::{PodNet, on_a_node, run};
use tulle_agent::rules::{NodeAddresses, RuleInstaller};

const NODE_SOURCES: [&str; 2] = ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"];

/// Two pods of the calling thread's node, each with `addresses`; `join` puts the node's end of
/// the second and third link where it belongs.
fn two_pods(
    addresses: [[&str; 2]; 2],
    gateways: [[&str; 2]; 2],
    join: impl Fn(usize, &str),
) -> [PodNet; 2] {
    run(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0",
    );
    [0, 1].map(|number| {
        let net = PodNet::new();
        let link = format!("pod{number}");
        net.in_pod("ip link del eth0");
        run(&format!(
            "ip link add {link} type veth peer name eth0 netns {}",
            net.pod_name()
        ));
        join(number, &link);
        run(&format!("ip link set {link} up"));
        for (address, length) in addresses[number].iter().zip([32, 128]) {
            net.in_pod(&format!(
                "ip addr add {address}/{length} dev eth0 {}",
                nodad(address)
            ));
        }
        net.in_pod("ip link set eth0 up");
        for gateway in gateways[number] {
            net.in_pod(&format!("ip route add {gateway} dev eth0"));
            net.in_pod(&format!("ip route add default via {gateway}"));
        }
        net.in_pod(
            "sh -c 'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0'",
        );
        net
    })
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { "nodad" } else { "" }
}

/// Counts what comes into the pod from each of the node's sources, and from the other pod.
const COUNTERS: &str = "add table inet seen; add chain inet seen in { type filter hook prerouting priority -400; }; \
    add rule inet seen in ip saddr 169.254.7.127 tcp dport 8000 counter; \
    add rule inet seen in ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff tcp dport 8000 counter; \
    add rule inet seen in tcp dport 8000 counter";

fn counted(pod: &PodNet) -> [u64; 3] {
    let rules: serde_json::Value =
        serde_json::from_str(&pod.in_pod("nft -j list table inet seen")).unwrap();
    let counts: Vec<u64> = rules["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["rule"]["expr"].as_array())
        .flat_map(|expressions| {
            expressions
                .iter()
                .filter_map(|e| e["counter"]["packets"].as_u64())
        })
        .collect();
    counts.try_into().unwrap()
}

async fn nobody_believes(pods: &[PodNet; 2], addresses: [[&str; 2]; 2]) {
    let [attacker, victim] = pods;
    victim.in_pod(&format!("nft '{COUNTERS}'"));
    for source in NODE_SOURCES {
        let length = if source.contains(':') { 128 } else { 32 };
        attacker.in_pod(&format!(
            "ip addr add {source}/{length} dev eth0 {}",
            nodad(source)
        ));
    }
    let send = async || {
        for ((source, own), to) in NODE_SOURCES.iter().zip(addresses[0]).zip(addresses[1]) {
            let to = SocketAddr::new(to.parse().unwrap(), 8000);
            for from in [source, own] {
                bare_ack(
                    &attacker.pod(),
                    SocketAddr::new(from.parse().unwrap(), 40_000),
                    to,
                )
                .await;
            }
        }
    };
    send().await;
    fixture::eventually("without the node's rules they arrive", || {
        counted(victim) == [1, 1, 4]
    })
    .await;

    let node = NodeAddresses::new(RuleInstaller);
    node.open().await.unwrap();
    send().await;
    // What the attacker sent from its own addresses comes after what it forged.
    fixture::eventually("its own packets arrive", || counted(victim)[2] >= 6).await;
    assert_eq!(counted(victim)[..2], [1, 1], "and those it forged do not");

    node.clear().await.unwrap();
    assert_eq!(run("nft list tables"), "");
}

#[test]
fn r32_a_pod_on_the_same_bridge_cannot_pass_for_the_node() {
    on_a_node(async {
        let addresses = [["10.98.0.2", "fd98::2"], ["10.98.0.3", "fd98::3"]];
        run("ip link add br0 type bridge && ip link set br0 up");
        run("ip addr add 10.98.0.1/24 dev br0 && ip addr add fd98::1/64 dev br0 nodad");
        // On one segment the pods reach each other without the node's address.
        let neighbours = [["10.98.0.3", "fd98::3"], ["10.98.0.2", "fd98::2"]];
        let pods = two_pods(addresses, neighbours, |_, link| {
            run(&format!("ip link set {link} master br0"));
        });
        nobody_believes(&pods, addresses).await;
    });
}

const TAGS: [&[u16]; 7] = [
    &[0x8100],
    &[0x88a8],
    &[0x8100, 0x8100],
    &[0x8100, 0x88a8],
    &[0x88a8, 0x8100],
    &[0x8100, 0x8100, 0x8100],
    &[],
];

#[test]
fn r32_priority_tags_hide_no_forged_packet_from_a_bridge() {
    on_a_node(async {
        let addresses = [["10.98.0.2", "fd98::2"], ["10.98.0.3", "fd98::3"]];
        run("ip link add br0 type bridge && ip link set br0 up");
        let neighbours = [["10.98.0.3", "fd98::3"], ["10.98.0.2", "fd98::2"]];
        let [attacker, victim] = two_pods(addresses, neighbours, |_, link| {
            run(&format!("ip link set {link} master br0"));
        });
        victim.in_pod(&format!("nft '{COUNTERS}'"));
        let mac = victim.in_pod("cat /sys/class/net/eth0/address");
        let bytes: Vec<u8> = mac
            .trim()
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let mac: [u8; 6] = bytes.try_into().unwrap();
        let send = async || {
            for tags in TAGS {
                for from in [NODE_SOURCES[0], addresses[0][0]] {
                    let from = SocketAddr::new(from.parse().unwrap(), 40_000);
                    let to = SocketAddr::new(addresses[1][0].parse().unwrap(), 8000);
                    tagged_ack(&attacker.pod(), mac, tags, from, to).await;
                }
            }
        };
        send().await;
        let before = counted(&victim);
        assert_eq!(
            before[0],
            u64::try_from(TAGS.len()).unwrap(),
            "without the node's rules they all arrive"
        );
        let node = NodeAddresses::new(RuleInstaller);
        node.open().await.unwrap();
        send().await;
        // Untagged and with one tag its own packets still arrive; the one untagged comes last.
        fixture::eventually("its own arrive", || counted(&victim)[2] == before[2] + 3).await;
        assert_eq!(counted(&victim)[0], before[0], "a forged packet arrived");
    });
}

#[test]
fn r32_a_pod_that_the_node_routes_for_cannot_pass_for_the_node() {
    on_a_node(async {
        let addresses = [["10.98.1.2", "fd98:1::2"], ["10.98.2.2", "fd98:2::2"]];
        let gateways = [["10.98.1.1", "fd98:1::1"], ["10.98.2.1", "fd98:2::1"]];
        let pods = two_pods(addresses, gateways, |number, link| {
            for gateway in gateways[number] {
                let length = if gateway.contains(':') { 64 } else { 24 };
                run(&format!(
                    "ip addr add {gateway}/{length} dev {link} {}",
                    nodad(gateway)
                ));
            }
        });
        nobody_believes(&pods, addresses).await;
    });
}
