use crate::wire::{
    HBONE_PORT, INBOUND_PORT, MARK_MASK, NODE_SOURCE_V4, NODE_SOURCE_V6, ORIGINAL_SOURCE_MARK,
    OUTBOUND_PORT, PROXY_MARK, ROUTE_RULE_PRIORITY, ROUTE_TABLE,
};

/// What the table in a pod's namespace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRules {
    /// New connections go through the proxy.
    Capture,
    /// New connections pass; those the proxy has still find their way. NAT
    /// and connection tracking end with the last chain that uses them, so
    /// the table stays until the proxy's connections have drained.
    Drain,
}

/// The nft script that puts `rules` into a pod's namespace in one
/// transaction, whatever stood there before.
///
/// Marks are set and compared within [`MARK_MASK`]. Redirects match a
/// connection's first packet only: conntrack takes up connections older than
/// the table in mid-stream as new, and redirecting those would reset them.
pub fn pod_table(rules: PodRules) -> String {
    let redirects = match rules {
        PodRules::Capture => Redirects {
            inbound: inbound_redirects(),
            outbound: outbound_redirects(),
        },
        PodRules::Drain => Redirects {
            inbound: String::new(),
            outbound: String::new(),
        },
    };
    let Redirects { inbound, outbound } = redirects;
    format!(
        "\
table inet tulle
delete table inet tulle
table inet tulle {{
    chain mangle_prerouting {{
        type filter hook prerouting priority -150; policy accept;
        meta mark & {MARK_MASK:#x} == {PROXY_MARK:#x} ct mark set ct mark & {other_bits:#010x} | {ORIGINAL_SOURCE_MARK:#x}
    }}
    chain mangle_output {{
        type route hook output priority -150; policy accept;
        ct mark & {MARK_MASK:#x} == {ORIGINAL_SOURCE_MARK:#x} meta mark set meta mark & {other_bits:#010x} | {ORIGINAL_SOURCE_MARK:#x}
    }}
    chain nat_prerouting {{
        type nat hook prerouting priority -100; policy accept;
{inbound}    }}
    chain nat_output {{
        type nat hook output priority -100; policy accept;
{outbound}    }}
}}
",
        other_bits = !MARK_MASK,
    )
}

struct Redirects {
    inbound: String,
    outbound: String,
}

/// The first packet of a TCP connection.
const FIRST_PACKET: &str = "tcp flags & (fin | syn | rst | ack) == syn";

fn inbound_redirects() -> String {
    let redirect = format!(
        "tcp dport != {HBONE_PORT} meta mark & {MARK_MASK:#x} != {PROXY_MARK:#x} {FIRST_PACKET} redirect to :{INBOUND_PORT}"
    );
    lines(&[
        format!("meta l4proto tcp ip saddr {NODE_SOURCE_V4} accept"),
        format!("meta l4proto tcp ip6 saddr {NODE_SOURCE_V6} accept"),
        format!("ip daddr != 127.0.0.1 {redirect}"),
        format!("ip6 daddr != ::1 {redirect}"),
    ])
}

fn outbound_redirects() -> String {
    let redirect = format!(
        "meta mark & {MARK_MASK:#x} != {PROXY_MARK:#x} {FIRST_PACKET} redirect to :{OUTBOUND_PORT}"
    );
    lines(&[
        format!("meta l4proto tcp ip daddr {NODE_SOURCE_V4} accept"),
        format!("meta l4proto tcp ip6 daddr {NODE_SOURCE_V6} accept"),
        format!("ct mark & {MARK_MASK:#x} == {ORIGINAL_SOURCE_MARK:#x} accept"),
        "oifname \"lo\" ip daddr != 127.0.0.1 accept".to_owned(),
        "oifname \"lo\" ip6 daddr != ::1 accept".to_owned(),
        format!("ip daddr != 127.0.0.1 meta l4proto tcp {redirect}"),
        format!("ip6 daddr != ::1 meta l4proto tcp {redirect}"),
    ])
}

fn lines(rules: &[String]) -> String {
    rules
        .iter()
        .map(|rule| format!("        {rule}\n"))
        .collect()
}

/// The nft script that removes the table, present or not.
pub fn pod_table_removal() -> &'static str {
    "table inet tulle\ndelete table inet tulle\n"
}

/// Lines for `ip -batch` that route answers to original sources to the
/// proxy, in the order to give them. Adding twice fails with EEXIST, removing
/// twice with ENOENT: run with `-force` after the removal.
pub fn pod_routes(version: u8) -> PodRoutes {
    let anywhere = if version == 6 { "::/0" } else { "0.0.0.0/0" };
    let rule = format!(
        "fwmark {ORIGINAL_SOURCE_MARK:#x}/{MARK_MASK:#x} pref {ROUTE_RULE_PRIORITY} lookup {ROUTE_TABLE}"
    );
    PodRoutes {
        add: format!(
            "route replace local {anywhere} dev lo table {ROUTE_TABLE}\nrule add {rule}\n"
        ),
        remove: format!("rule del {rule}\nroute flush table {ROUTE_TABLE}\n"),
    }
}

/// See [`pod_routes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRoutes {
    pub add: String,
    pub remove: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!("chain {name} {{");
        table
            .lines()
            .skip_while(|line| line.trim() != start)
            .skip(2)
            .take_while(|line| line.trim() != "}")
            .map(str::trim)
            .collect()
    }

    #[test]
    fn the_table_replaces_whatever_stood_there_in_one_transaction() {
        for rules in [PodRules::Capture, PodRules::Drain] {
            assert!(
                pod_table(rules)
                    .starts_with("table inet tulle\ndelete table inet tulle\ntable inet tulle {\n")
            );
        }
    }

    #[test]
    fn outbound_connections_are_redirected_in_the_order_of_the_wire() {
        let table = pod_table(PodRules::Capture);
        let rules = chain(&table, "nat_output");
        assert_eq!(rules[0], "meta l4proto tcp ip daddr 169.254.7.127 accept");
        assert_eq!(rules[2], "ct mark & 0xfff == 0x111 accept");
        assert_eq!(rules[3], "oifname \"lo\" ip daddr != 127.0.0.1 accept");
        assert_eq!(
            rules[5],
            "ip daddr != 127.0.0.1 meta l4proto tcp meta mark & 0xfff != 0x539 \
             tcp flags & (fin | syn | rst | ack) == syn redirect to :15001"
        );
        assert!(!table.contains("dport 53"), "DNS passes through");
    }

    #[test]
    fn inbound_connections_are_redirected_but_for_probes_and_the_tunnel() {
        let table = pod_table(PodRules::Capture);
        let rules = chain(&table, "nat_prerouting");
        assert_eq!(rules[0], "meta l4proto tcp ip saddr 169.254.7.127 accept");
        assert_eq!(
            rules[1],
            "meta l4proto tcp ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff accept"
        );
        assert_eq!(
            rules[2],
            "ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0xfff != 0x539 \
             tcp flags & (fin | syn | rst | ack) == syn redirect to :15006"
        );
    }

    #[test]
    fn every_redirect_matches_first_packets_only() {
        let table = pod_table(PodRules::Capture);
        let redirects: Vec<&str> = table
            .lines()
            .filter(|line| line.contains("redirect"))
            .collect();
        assert_eq!(redirects.len(), 4);
        assert!(redirects.iter().all(|line| line.contains(FIRST_PACKET)));
    }

    #[test]
    fn draining_keeps_the_way_back_and_redirects_nothing() {
        let table = pod_table(PodRules::Drain);
        assert!(
            chain(&table, "nat_output").is_empty() && chain(&table, "nat_prerouting").is_empty()
        );
        assert_eq!(
            chain(&table, "mangle_output"),
            chain(&pod_table(PodRules::Capture), "mangle_output")
        );
    }
}
