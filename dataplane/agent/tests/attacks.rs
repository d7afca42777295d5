//! Ways round the redirects, tried in real network namespaces with the rules alone: no proxy is
//! there, so whatever connects went past it. Needs root, `nft` and `ip`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::net::SocketAddr;

use fixture::forge::{bare_ack, connect_from, connect_marked};
use fixture::{PodNet, capture, capture_with, connect, echo_server, echoes, on_a_node};
use tulle_names::PROXY_MARK;

/// The pod and the world outside it, in both families; the pod's application listens on 8000, a
/// server outside on 7000.
const POD: [&str; 2] = ["10.99.0.2", "fd99::2"];
const OUTSIDE: [&str; 2] = ["10.99.0.1", "fd99::1"];

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

async fn captured_pod() -> PodNet {
    let net = PodNet::new();
    echo_server(&net.outside(), "[::]:7000").await;
    echo_server(&net.pod(), "[::]:8000").await;
    capture(&net.pod()).await;
    net
}

#[test]
fn r31_a_bare_ack_before_it_opens_no_way_into_the_pod() {
    on_a_node(async {
        let net = captured_pod().await;
        for family in 0..2 {
            let (from, to) = (at(OUTSIDE[family], 40_001), at(POD[family], 8000));
            bare_ack(&net.outside(), from, to).await;
            let connected = connect_from(&net.outside(), from, to).await;
            assert!(connected.is_err(), "{to}: {connected:?}");
            // What connection tracking held of the forged connection is over: the next is redirected.
            let again = connect_from(&net.outside(), from, to).await;
            assert!(again.is_err(), "{to}: {again:?}");
        }
    });
}

#[test]
fn r31_a_bare_ack_before_it_opens_no_way_out_of_the_pod() {
    on_a_node(async {
        let net = captured_pod().await;
        for family in 0..2 {
            let (from, to) = (at(POD[family], 40_002), at(OUTSIDE[family], 7000));
            bare_ack(&net.pod(), from, to).await;
            let connected = connect_from(&net.pod(), from, to).await;
            assert!(connected.is_err(), "{to}: {connected:?}");
        }
    });
}

#[test]
fn r31_the_mark_of_the_proxy_opens_no_way_out_of_the_pod() {
    on_a_node(async {
        let net = captured_pod().await;
        let owner = fixture::owner();
        for (family, to) in OUTSIDE.iter().map(|ip| at(ip, 7000)).enumerate() {
            for mark in [PROXY_MARK, owner.mark, 0x111] {
                let connected = connect_marked(&net.pod(), mark, to).await;
                assert!(
                    !connected.as_ref().is_ok_and(echoes),
                    "family {family}, mark {mark:#x}"
                );
            }
        }
    });
}

#[test]
fn r31_the_sockets_of_the_proxy_show_neither_owner_nor_mark_to_the_pod() {
    on_a_node(async {
        let net = captured_pod().await;
        let owner = fixture::owner();
        let stream = net
            .pod()
            .run(move || {
                let socket = owner.open(|| {
                    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
                    let kind = SockType::Stream;
                    Ok(socket(
                        AddressFamily::Inet,
                        kind,
                        SockFlag::SOCK_CLOEXEC,
                        None,
                    )?)
                })?;
                let to: std::net::SocketAddrV4 = "10.99.0.1:7000".parse().unwrap();
                use std::os::fd::AsRawFd;
                nix::sys::socket::connect(
                    socket.as_raw_fd(),
                    &nix::sys::socket::SockaddrIn::from(to),
                )?;
                Ok(std::net::TcpStream::from(socket))
            })
            .await
            .unwrap();
        assert!(echoes(&stream), "it passes the rules");
        let shown = net
            .in_pod("cat /proc/net/tcp /proc/net/tcp6 /proc/net/nf_conntrack 2>/dev/null || true");
        for secret in [owner.uid, owner.gid, owner.mark] {
            assert!(!shown.contains(&secret.to_string()), "{shown}");
        }
    });
}

#[test]
fn r31_a_link_local_address_is_no_way_in_and_passes_out_as_it_was() {
    on_a_node(async {
        let net = PodNet::new();
        echo_server(&net.outside(), "[::]:7000").await;
        echo_server(&net.pod(), "[::]:8000").await;
        net.in_pod("ip -6 addr add fe80::2/64 dev eth0 nodad");
        net.in_outside("ip -6 addr add fe80::1/64 dev eth0 nodad");
        let (way_in, way_out) = ("[fe80::2%2]:8000", "[fe80::1%2]:7000");
        let before = connect(&net.outside(), way_in).await.unwrap();
        assert!(echoes(&before), "before");
        capture(&net.pod()).await;
        let incoming = connect(&net.outside(), way_in).await;
        assert!(!incoming.as_ref().is_ok_and(echoes), "in");
        let outgoing = connect(&net.pod(), way_out).await.unwrap();
        assert!(echoes(&outgoing), "out");
    });
}

#[test]
fn r32_the_nodes_address_opens_the_probe_ports_of_the_pod_and_no_other() {
    on_a_node(async {
        let net = captured_pod().await;
        echo_server(&net.pod(), "[::]:8001").await;
        capture_with(&net.pod(), &[8001]).await;
        // The sender outside has the node's addresses: as the node would, whose rules are not here.
        net.in_outside("ip addr add 169.254.7.127/32 dev eth0");
        net.in_outside("ip -6 addr add fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128 dev eth0 nodad");
        net.in_pod("ip -6 route add default via fd99::1");
        for (node, pod) in [
            ("169.254.7.127", POD[0]),
            ("fd16:9254:7127:1337:ffff:ffff:ffff:ffff", POD[1]),
        ] {
            let probe = connect_from(&net.outside(), at(node, 0), at(pod, 8001)).await;
            assert!(probe.as_ref().is_ok_and(echoes), "{pod}: {probe:?}");
            let other = connect_from(&net.outside(), at(node, 0), at(pod, 8000)).await;
            assert!(other.is_err(), "{pod}: {other:?}");
            bare_ack(&net.outside(), at(node, 40_003), at(pod, 8000)).await;
            let other = connect_from(&net.outside(), at(node, 40_003), at(pod, 8000)).await;
            assert!(other.is_err(), "{pod}: {other:?}");
        }
    });
}
