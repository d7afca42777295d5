//! Whose is a socket: the proxy's, the application's through the proxy, or
//! the application's past the proxy. Pure.
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::wire::{State, TcpSocket};
use crate::wire::{INBOUND_PORT, OUTBOUND_PORT, PROXY_PORTS, is_node_source, is_proxy_mark};

/// The application's connections of one dump that leave the pod.
#[derive(Debug, Default)]
pub struct Connections<'a> {
    /// Cookies of those that go through the proxy.
    pub proxied: HashSet<u64>,
    /// Those whose other end is not in the namespace.
    pub unproxied: Vec<&'a TcpSocket>,
    /// Those that share their local address with another connection: the
    /// proxy's end, known by that address alone, can be the end of one only.
    pub ambiguous: Vec<&'a TcpSocket>,
}

/// Sorts the application's connections.
///
/// A connection goes through the proxy iff its other end is in the same
/// namespace: the proxy's redirected end (its remote is our local), or the
/// socket the proxy made in the name of the original source (our pair turned
/// round). The latter also finds connections that never leave the pod.
pub fn connections(sockets: &[TcpSocket]) -> Connections<'_> {
    let candidates: Vec<&TcpSocket> = sockets
        .iter()
        .filter(|socket| is_application_connection(socket))
        .collect();
    let pairs: HashSet<(SocketAddr, SocketAddr)> = sockets
        .iter()
        .map(|socket| (socket.local, socket.remote))
        .collect();
    let redirected: HashSet<SocketAddr> = sockets
        .iter()
        .filter(|socket| [OUTBOUND_PORT, INBOUND_PORT].contains(&socket.local.port()))
        .map(|socket| socket.remote)
        .collect();
    let mut sharing: HashMap<SocketAddr, usize> = HashMap::new();
    for candidate in &candidates {
        *sharing.entry(candidate.local).or_default() += 1;
    }
    let mut sorted = Connections::default();
    for candidate in candidates {
        // An accepted connection shares its local address with its siblings;
        // its mirror is exact, so it never depends on the address alone.
        if pairs.contains(&(candidate.remote, candidate.local)) {
            sorted.proxied.insert(candidate.id.cookie());
        } else if !redirected.contains(&candidate.local) {
            sorted.unproxied.push(candidate);
        } else if sharing.get(&candidate.local) == Some(&1) {
            sorted.proxied.insert(candidate.id.cookie());
        } else {
            sorted.ambiguous.push(candidate);
        }
    }
    sorted
}

fn is_application_connection(socket: &TcpSocket) -> bool {
    matches!(socket.state, State::Established | State::HalfClosed)
        && socket.held
        && !is_proxy_socket(socket)
        && !socket.remote.ip().is_loopback()
        && !is_node_source(socket.remote.ip())
}

fn is_proxy_socket(socket: &TcpSocket) -> bool {
    is_proxy_mark(socket.mark) || PROXY_PORTS.contains(&socket.local.port())
}

/// How many sockets the proxy has here; 0 once it has let go of the namespace.
pub fn proxy_sockets(sockets: &[TcpSocket]) -> usize {
    sockets
        .iter()
        .filter(|socket| is_proxy_socket(socket))
        .count()
}

/// A port of the proxy's that something else listens on.
pub fn foreign_listener(sockets: &[TcpSocket]) -> Option<u16> {
    sockets
        .iter()
        .filter(|socket| socket.state == State::Listen && !is_proxy_mark(socket.mark))
        .map(|socket| socket.local.port())
        .find(|port| PROXY_PORTS.contains(port))
}
