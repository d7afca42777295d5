//! In the network namespace of an enrolled pod.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};

/// What the proxy listens on in every pod; a pod that listens there itself cannot be enrolled.
pub const PROXY_PORTS: [u16; 3] = [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT];

/// The bits of a packet's or connection's mark that are ours to set and to compare.
pub const MARK_MASK: u32 = 0xfff;
/// Their value on the proxy's sockets, as in Istio ambient.
pub const PROXY_MARK: u32 = 0x539;
/// Connection mark of connections the proxy makes in the name of their original source.
pub const ORIGINAL_SOURCE_MARK: u32 = 0x111;
/// Zone of connection tracking of their first direction.
pub const ORIGINAL_SOURCE_ZONE: u16 = 15;
/// Routing table that delivers answers to original sources locally.
pub const ROUTE_TABLE: u32 = 100;
/// Priority of the `ip rule` that leads there.
pub const ROUTE_RULE_PRIORITY: u32 = 32764;

/// What the node's own connections to enrolled pods come from (kubelet's probes).
pub const NODE_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
/// The same for IPv6.
pub const NODE_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(
    0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff,
);

/// Whether a port is the proxy's own in every pod. A connection sent on to one would come back to the proxy.
pub fn is_own_port(port: u16) -> bool {
    PROXY_PORTS.contains(&port)
}

/// Whether `address` is what the node's own connections are translated to.
pub fn is_node_source(address: IpAddr) -> bool {
    address == IpAddr::V4(NODE_SOURCE_V4) || address == IpAddr::V6(NODE_SOURCE_V6)
}
