//! Whose is a socket: the proxy's, the application's through the proxy, or
//! the application's past the proxy. Pure.
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::wire::{State, TcpSocket};
use tulle_names::{INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, PROXY_PORTS, is_node_source};

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
/// `proxys_mark` is the secret mark of the proxy's own sockets.
pub fn connections(sockets: &[TcpSocket], proxys_mark: u32) -> Connections<'_> {
    let candidates: Vec<&TcpSocket> = sockets
        .iter()
        .filter(|socket| is_application_connection(socket, proxys_mark))
        .collect();
    let pairs: HashSet<(SocketAddr, SocketAddr)> = sockets
        .iter()
        .map(|socket| (socket.local, socket.remote))
        .collect();
    let redirected: HashSet<SocketAddr> = sockets
        .iter()
        .filter(|socket| [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT].contains(&socket.local.port()))
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

impl<'a> Connections<'a> {
    /// Settles by what connection tracking knows (see [`super::Conntrack`])
    /// what the addresses leave open. What nobody knows for certain of the
    /// ambiguous counts as proxied: a good connection is never taken for an older one.
    pub fn settled(self, mut is_redirected: impl FnMut(&TcpSocket) -> Option<bool>) -> Self {
        let mut settled = Connections {
            proxied: self.proxied,
            ..Connections::default()
        };
        for socket in self.unproxied {
            match is_redirected(socket) {
                Some(true) => {
                    settled.proxied.insert(socket.id.cookie());
                }
                _ => settled.unproxied.push(socket),
            }
        }
        for socket in self.ambiguous {
            match is_redirected(socket) {
                Some(false) => settled.unproxied.push(socket),
                _ => {
                    settled.proxied.insert(socket.id.cookie());
                }
            }
        }
        settled
    }
}

fn is_application_connection(socket: &TcpSocket, proxys_mark: u32) -> bool {
    matches!(socket.state, State::Established | State::HalfClosed)
        && socket.inode != 0
        && !is_proxy_socket(socket, proxys_mark)
        && !socket.remote.ip().is_loopback()
        && !is_node_source(socket.remote.ip())
}

fn is_proxy_socket(socket: &TcpSocket, proxys_mark: u32) -> bool {
    socket.mark == proxys_mark || PROXY_PORTS.contains(&socket.local.port())
}

/// How many sockets the proxy has here; 0 once it has let go of the namespace.
pub fn proxy_sockets(sockets: &[TcpSocket], proxys_mark: u32) -> usize {
    sockets
        .iter()
        .filter(|socket| is_proxy_socket(socket, proxys_mark))
        .count()
}

/// A listening socket on a port of the proxy's; whose it is, its inode tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub port: u16,
    pub inode: u64,
}

pub fn listening(sockets: &[TcpSocket]) -> Vec<Listening> {
    sockets
        .iter()
        .filter(|socket| socket.state == State::Listen)
        .filter(|socket| PROXY_PORTS.contains(&socket.local.port()))
        .map(|socket| Listening {
            port: socket.local.port(),
            inode: socket.inode,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::wire::SocketId;

    /// The secret mark of this test's node.
    const MARK: u32 = 0xabcd_e539;

    fn connection(cookie: u64, local: &str, remote: &str) -> TcpSocket {
        TcpSocket {
            id: SocketId::for_test(cookie),
            state: State::Established,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            mark: 0,
            inode: cookie,
            queued: 0,
            quiet_ms: 0,
        }
    }

    fn proxys(socket: TcpSocket) -> TcpSocket {
        TcpSocket {
            mark: MARK,
            ..socket
        }
    }

    fn cookies(sockets: &[&TcpSocket]) -> Vec<u64> {
        sockets.iter().map(|socket| socket.id.cookie()).collect()
    }

    #[test]
    fn a_connection_with_its_mirror_in_the_namespace_is_proxied() {
        let dump = [
            connection(1, "10.0.0.2:40000", "10.0.0.9:80"),
            proxys(connection(2, "127.0.0.1:15001", "10.0.0.2:40000")),
            connection(3, "10.0.0.2:8000", "10.0.0.7:50000"),
            proxys(connection(4, "10.0.0.7:50000", "10.0.0.2:8000")),
            connection(5, "10.0.0.2:40001", "10.0.0.2:8000"),
            connection(6, "10.0.0.2:8000", "10.0.0.2:40001"),
        ];
        let sorted = connections(&dump, MARK);
        assert!(
            sorted.unproxied.is_empty() && sorted.ambiguous.is_empty(),
            "{sorted:?}"
        );
        assert_eq!(sorted.proxied, HashSet::from([1, 3, 5, 6]));
    }

    #[test]
    fn a_connection_without_is_not() {
        let dump = [
            connection(1, "10.0.0.2:40000", "10.0.0.9:80"),
            connection(3, "10.0.0.2:8000", "10.0.0.7:50000"),
        ];
        assert_eq!(cookies(&connections(&dump, MARK).unproxied), [1, 3]);
    }

    #[test]
    fn what_is_not_the_applications_is_not_looked_at() {
        let dump = [
            proxys(connection(1, "10.0.0.2:41000", "10.0.0.9:15008")),
            connection(2, "10.0.0.2:15008", "10.0.0.9:33333"),
            connection(3, "127.0.0.1:5000", "127.0.0.1:5001"),
            connection(4, "10.0.0.2:8000", "169.254.7.127:5001"),
            TcpSocket {
                inode: 0,
                ..connection(5, "10.0.0.2:40000", "10.0.0.9:80")
            },
            TcpSocket {
                state: State::Listen,
                ..connection(6, "0.0.0.0:8000", "0.0.0.0:0")
            },
        ];
        let sorted = connections(&dump, MARK);
        assert!(
            sorted.unproxied.is_empty() && sorted.proxied.is_empty(),
            "{sorted:?}"
        );
    }

    #[test]
    fn two_connections_with_one_local_address_are_told_apart_by_connection_tracking() {
        let dump = [
            connection(1, "10.0.0.2:40000", "10.0.0.9:80"),
            connection(2, "10.0.0.2:40000", "10.0.0.8:80"),
            proxys(connection(3, "127.0.0.1:15001", "10.0.0.2:40000")),
        ];
        assert_eq!(cookies(&connections(&dump, MARK).ambiguous), [1, 2]);
        let settled = connections(&dump, MARK).settled(|socket| Some(socket.id.cookie() == 2));
        assert_eq!(
            (cookies(&settled.unproxied), settled.proxied),
            (vec![1], HashSet::from([2]))
        );
        let unknown = connections(&dump, MARK).settled(|_| None);
        assert!(unknown.unproxied.is_empty());
    }

    #[test]
    fn r31_a_listener_on_the_proxys_port_is_told_by_its_inode_whatever_its_mark() {
        let listener = |inode, address: &str| {
            let socket = connection(inode, address, "[::]:0");
            let state = State::Listen;
            proxys(TcpSocket { state, ..socket })
        };
        let dump = [
            listener(1, "[::]:15008"),
            listener(2, "127.0.0.1:15001"),
            listener(3, "[::]:8000"),
            connection(4, "10.0.0.2:15008", "10.0.0.9:33333"),
        ];
        let found = [(15008, 1), (15001, 2)].map(|(port, inode)| Listening { port, inode });
        assert_eq!(listening(&dump), found);
    }
}
