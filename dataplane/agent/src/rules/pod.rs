use std::collections::BTreeSet;

use tulle_socket_owner::SocketOwner;

use tulle_names::{
    HBONE_PORT, INBOUND_PLAINTEXT_PORT, MARK_MASK, NODE_SOURCE_V4, NODE_SOURCE_V6,
    ORIGINAL_SOURCE_MARK, ORIGINAL_SOURCE_ZONE, OUTBOUND_PORT, ROUTE_RULE_PRIORITY, ROUTE_TABLE,
};

/// What the table in a pod's namespace does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRules {
    pub phase: Phase,
    /// What the proxy's sockets are known by.
    pub owner: SocketOwner,
    /// Ports of the pod's own probes and lifecycle hooks: all that the node reaches past the proxy.
    pub probe_ports: BTreeSet<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// New connections go through the proxy or nowhere.
    Capture,
    /// New connections pass; those the proxy has still find their way. NAT
    /// and connection tracking end with the last chain that uses them, so
    /// the table stays until the proxy's connections have drained.
    Drain,
}

/// The nft script that puts `rules` into a pod's namespace in one
/// transaction, whatever stood there before.
///
/// Invariant of [`Phase::Capture`]: the first packet of a TCP connection, in or out, reaches the
/// proxy or nothing, but for what stays inside the pod, what goes to a link-local address and the pod's own probes. The redirects
/// alone do not hold it: connection tracking takes up a connection in mid-stream as established,
/// which one bare ACK of anybody's is enough for, and asks no NAT chain about the packets of an
/// established connection. So the filter chains, which see every packet, refuse each first packet
/// that was not redirected. Both match first packets only, so connections older than the table flow on.
///
/// Marks are set and compared within [`MARK_MASK`].
pub fn pod_table(rules: &PodRules) -> String {
    let chains = match rules.phase {
        Phase::Capture => capture(rules),
        Phase::Drain => draining(),
    };
    format!(
        "\
table inet tulle
delete table inet tulle
table inet tulle {{
{kept}{chains}}}
",
        kept = answers(&rules.owner),
    )
}

/// The first packet of a TCP connection.
const FIRST_PACKET: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// Answers to connections that the proxy makes in the name of their original source come back to
/// it, and nobody sees the mark of the proxy's sockets on an interface. Such a connection may have the
/// very addresses and ports of one that the client has to the proxy: connection tracking tells the two
/// apart by a zone, which only the first direction has. Answers are looked for without one.
fn answers(owner: &SocketOwner) -> String {
    let proxys = proxys(owner);
    let other_bits = format!("{:#010x}", !MARK_MASK);
    let zone = chain(
        "zone_output",
        "type filter hook output priority -300",
        &[format!(
            "oifname \"lo\" {proxys} ct original zone set {ORIGINAL_SOURCE_ZONE}"
        )],
    );
    zone + &chain(
        "mangle_output",
        "type route hook output priority -150",
        &[
            format!(
                "oifname \"lo\" {proxys} ct mark set ct mark & {other_bits} | {ORIGINAL_SOURCE_MARK:#x}"
            ),
            format!(
                "ct mark & {MARK_MASK:#x} == {ORIGINAL_SOURCE_MARK:#x} meta mark set meta mark & {other_bits} | {ORIGINAL_SOURCE_MARK:#x}"
            ),
        ],
    ) + &chain(
        "mangle_postrouting",
        "type filter hook postrouting priority -150",
        &[format!("{proxys} meta mark set 0")],
    )
}

/// What goes to an address that means something on the pod's own link only. A redirected one would lose the link it
/// was for, its answers would come from another, and no member is called there: as with all that leaves the
/// mesh it is plaintext, and a member behind it refuses or takes it like any other plaintext.
const LINK_LOCAL: &str = "ip6 daddr fe80::/10 accept";

fn capture(rules: &PodRules) -> String {
    let proxys = proxys(&rules.owner);
    let probes = probes(&rules.probe_ports);
    let redirected = [
        format!("ip daddr 127.0.0.1 tcp dport {OUTBOUND_PORT}"),
        format!("ip6 daddr ::1 tcp dport {OUTBOUND_PORT}"),
    ];
    let nat_prerouting = chain(
        "nat_prerouting",
        NAT_PREROUTING,
        &[
            &probes[..],
            &[format!(
                "iifname != \"lo\" tcp dport != {HBONE_PORT} {FIRST_PACKET} redirect to :{INBOUND_PLAINTEXT_PORT}"
            )],
        ]
        .concat(),
    );
    let nat_output = chain(
        "nat_output",
        NAT_OUTPUT,
        &[
            format!("{proxys} accept"),
            "oifname \"lo\" accept".to_owned(),
            LINK_LOCAL.to_owned(),
            format!("{FIRST_PACKET} redirect to :{OUTBOUND_PORT}"),
        ],
    );
    let refuse = format!("{FIRST_PACKET} reject with tcp reset");
    let filter_input = chain(
        "filter_input",
        "type filter hook input priority 0",
        &[
            &[
                "iifname \"lo\" accept".to_owned(),
                format!("tcp dport {{ {INBOUND_PLAINTEXT_PORT}, {HBONE_PORT} }} accept"),
            ],
            &probes[..],
            std::slice::from_ref(&refuse),
        ]
        .concat(),
    );
    let filter_output = chain(
        "filter_output",
        "type filter hook output priority 0",
        &[
            &[
                format!("{proxys} accept"),
                "oifname \"lo\" accept".to_owned(),
                LINK_LOCAL.to_owned(),
            ],
            &redirected.map(|to| format!("{to} accept"))[..],
            &[refuse],
        ]
        .concat(),
    );
    nat_prerouting + &nat_output + &filter_input + &filter_output
}

/// Translation goes on, for the connections that are translated already.
fn draining() -> String {
    chain("nat_prerouting", NAT_PREROUTING, &[]) + &chain("nat_output", NAT_OUTPUT, &[])
}

const NAT_PREROUTING: &str = "type nat hook prerouting priority -100";
const NAT_OUTPUT: &str = "type nat hook output priority -100";

/// What matches packets of the proxy's sockets.
fn proxys(owner: &SocketOwner) -> String {
    format!("meta skuid {} meta skgid {}", owner.uid, owner.gid)
}

/// Rules that let the node's probes pass, one for each family.
fn probes(ports: &BTreeSet<u16>) -> Vec<String> {
    if ports.is_empty() {
        return Vec::new();
    }
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(", ");
    [
        format!("ip saddr {NODE_SOURCE_V4}"),
        format!("ip6 saddr {NODE_SOURCE_V6}"),
    ]
    .map(|node| format!("iifname != \"lo\" {node} tcp dport {{ {ports} }} accept"))
    .to_vec()
}

fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| format!("        {rule}\n"))
        .collect();
    format!("    chain {name} {{\n        {hook}; policy accept;\n{rules}    }}\n")
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

    const OWNER: SocketOwner = SocketOwner {
        mark: 0xabcd_e539,
        uid: 1_500_000_001,
        gid: 1_500_000_002,
    };
    const PROXYS: &str = "meta skuid 1500000001 meta skgid 1500000002";

    fn rules(phase: Phase, probe_ports: &[u16]) -> String {
        pod_table(&PodRules {
            phase,
            owner: OWNER,
            probe_ports: probe_ports.iter().copied().collect(),
        })
    }

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
        for phase in [Phase::Capture, Phase::Drain] {
            assert!(
                rules(phase, &[])
                    .starts_with("table inet tulle\ndelete table inet tulle\ntable inet tulle {\n")
            );
        }
    }

    #[test]
    fn first_packets_out_are_the_proxys_or_redirected_or_refused() {
        let table = rules(Phase::Capture, &[]);
        assert_eq!(
            chain(&table, "nat_output"),
            [
                format!("{PROXYS} accept").as_str(),
                "oifname \"lo\" accept",
                "ip6 daddr fe80::/10 accept",
                "tcp flags & (fin | syn | rst | ack) == syn redirect to :15001",
            ]
        );
        let filter = chain(&table, "filter_output");
        assert_eq!(filter[0], format!("{PROXYS} accept"));
        assert_eq!(
            filter.last(),
            Some(&"tcp flags & (fin | syn | rst | ack) == syn reject with tcp reset")
        );
        assert!(!table.contains("dport 53"), "DNS passes through");
    }

    #[test]
    fn first_packets_in_are_for_the_proxy_or_refused_but_for_the_pods_own_probes() {
        let table = rules(Phase::Capture, &[9000, 8080]);
        let probes = [
            "iifname != \"lo\" ip saddr 169.254.7.127 tcp dport { 8080, 9000 } accept",
            "iifname != \"lo\" ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff tcp dport { 8080, 9000 } accept",
        ];
        assert_eq!(chain(&table, "nat_prerouting")[..2], probes);
        assert_eq!(chain(&table, "filter_input")[2..4], probes);
        let without = rules(Phase::Capture, &[]);
        assert!(!without.contains("169.254.7.127"), "{without}");
    }

    #[test]
    fn no_rule_believes_a_mark_of_a_packet() {
        let table = rules(Phase::Capture, &[80]);
        let with_mark = table.lines().filter(|line| line.contains("meta mark"));
        for line in with_mark {
            let condition = line.split("meta mark set").next().unwrap_or_default();
            assert!(!condition.contains("meta mark"), "{line}");
        }
    }

    #[test]
    fn draining_keeps_the_way_back_and_redirects_nothing() {
        let table = rules(Phase::Drain, &[80]);
        assert!(!table.contains("redirect") && !table.contains("reject"));
        assert_eq!(
            chain(&table, "mangle_output"),
            chain(&rules(Phase::Capture, &[80]), "mangle_output")
        );
    }
}
