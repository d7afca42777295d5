use std::collections::BTreeSet;
use std::net::IpAddr;

use tulle_names::{NODE_SOURCE_V4, NODE_SOURCE_V6};

/// The nft script for the node's own namespace: what the node itself sends to
/// an enrolled pod comes from the node's source address, so that the pod's
/// rules tell kubelet's probes from other traffic. One transaction; the chain
/// runs before kube-proxy's (priority 100), because the first translation counts.
///
/// The node gives its packets that source on their way out, so one that comes in with it is forged,
/// whoever sent it, and goes nowhere: neither through the node (`inet`, routed pods and other
/// nodes') nor from one port of a bridge of the node's to another (`bridge`), which the first does not see.
/// A receiver takes any number of priority tags (VLAN identifier 0) off a frame, but only the first
/// is off when the bridge looks at the source: a frame with a tag behind a priority tag is dropped.
pub fn node_table(pods: &BTreeSet<IpAddr>) -> String {
    let v4 = set("pods4", "ipv4_addr", pods.iter().filter(|ip| ip.is_ipv4()));
    let v6 = set("pods6", "ipv6_addr", pods.iter().filter(|ip| ip.is_ipv6()));
    format!(
        "\
table inet tulle_node
delete table inet tulle_node
table inet tulle_node {{
{v4}{v6}    chain postrouting {{
        type nat hook postrouting priority 95; policy accept;
        meta l4proto tcp ip daddr @pods4 fib saddr type local snat ip to {NODE_SOURCE_V4}
        meta l4proto tcp ip6 daddr @pods6 fib saddr type local snat ip6 to {NODE_SOURCE_V6}
    }}
    chain forged {{
        type filter hook prerouting priority -300; policy accept;
        ip saddr {NODE_SOURCE_V4} drop
        ip6 saddr {NODE_SOURCE_V6} drop
    }}
}}
table bridge tulle_node
delete table bridge tulle_node
table bridge tulle_node {{
    chain forged {{
        type filter hook prerouting priority -300; policy accept;
        meta protocol {{ 8021q, 8021ad }} @ll,116,12 0 drop
        ip saddr {NODE_SOURCE_V4} drop
        ip6 saddr {NODE_SOURCE_V6} drop
        arp saddr ip {NODE_SOURCE_V4} drop
    }}
}}
"
    )
}

/// The nft script that removes the tables, present or not.
pub fn node_table_removal() -> &'static str {
    "table inet tulle_node\ndelete table inet tulle_node\n\
     table bridge tulle_node\ndelete table bridge tulle_node\n"
}

fn set<'a>(name: &str, kind: &str, members: impl Iterator<Item = &'a IpAddr>) -> String {
    let members: Vec<String> = members.map(ToString::to_string).collect();
    let elements = if members.is_empty() {
        String::new()
    } else {
        format!("        elements = {{ {} }}\n", members.join(", "))
    };
    format!("    set {name} {{\n        type {kind}\n{elements}    }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_family_in_its_own_set() {
        let pods = ["10.244.1.3", "10.244.1.4", "fd00::3"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        let table = node_table(&pods);
        assert!(
            table.contains("elements = { 10.244.1.3, 10.244.1.4 }"),
            "{table}"
        );
        assert!(table.contains("elements = { fd00::3 }"), "{table}");
        assert!(
            table.contains("fib saddr type local snat ip to 169.254.7.127"),
            "{table}"
        );
        assert!(
            table.contains("snat ip6 to fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
            "{table}"
        );
    }

    #[test]
    fn an_empty_set_has_no_elements_line() {
        assert!(!node_table(&BTreeSet::new()).contains("elements"));
    }
}
