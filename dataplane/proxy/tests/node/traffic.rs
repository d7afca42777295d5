use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::harness::app::{exchange, greeting, refused};
use crate::harness::pod::Pod;
use crate::node::{addresses, on_a_node};

#[test]
fn r24_members_talk_in_mutual_tls_and_in_strict_nobody_else_gets_in_in_both_families() {
    on_a_node(|mut node| async move {
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        let outsider = node.network.pod("outsider");
        let inside = b.echo(8080).await;
        for to in addresses(&b) {
            let mut stream = outsider.connect(to, 8080).await.unwrap();
            assert_eq!(greeting(&mut stream).await.unwrap(), "b", "Permissive");
        }
        node.strict().await;
        for (to, from) in addresses(&b).into_iter().zip(addresses(&a)) {
            let mut stream = a.connect(to, 8080).await.unwrap();
            assert_eq!(greeting(&mut stream).await.unwrap(), "b");
            assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
            let seen: Vec<IpAddr> = inside.peers().iter().map(|peer| peer.ip()).collect();
            assert!(seen.contains(&from), "the application sees who calls");
            assert!(refused(outsider.connect(to, 8080).await).await, "{to}");
        }
    });
}

#[test]
fn r27_r32_the_node_reaches_the_probe_port_in_strict_and_no_other() {
    on_a_node(|mut node| async move {
        let pod = node.pod("a", &[8081]).await;
        let (_probed, _other) = (pod.echo(8081).await, pod.echo(8080).await);
        node.strict().await;
        let ask = |port: u16, ip: IpAddr| {
            use std::io::Read;
            let to = std::net::SocketAddr::new(ip, port);
            let limit = std::time::Duration::from_secs(5);
            node.network.host.run(move || {
                let mut stream = std::net::TcpStream::connect_timeout(&to, limit)?;
                stream.set_read_timeout(Some(limit))?;
                stream.read_exact(&mut [0])
            })
        };
        for ip in addresses(&pod) {
            assert!(ask(8080, ip).is_err(), "{ip}");
            ask(8081, ip).unwrap();
        }
    });
}

/// The proxy calls the application in the client's name from a port of the kernel's choice. Here there is one only, and the
/// client's connection has it already.
#[test]
fn r38_a_client_is_served_whose_port_the_proxy_takes_too_in_both_families() {
    on_a_node(|mut node| async move {
        let pod = node.pod("a", &[]).await;
        let outsider = node.network.pod("outsider");
        let _app = pod.echo(8080).await;
        pod.ns
            .sh("echo '41000 41000' > /proc/sys/net/ipv4/ip_local_port_range");
        for (to, from) in addresses(&pod).into_iter().zip(addresses(&outsider)) {
            let mut client = outsider.connect_from(from, 41000, to, 8080).unwrap();
            assert_eq!(greeting(&mut client).await.unwrap(), "a", "{to}");
            assert_eq!(exchange(&mut client, b"hello").await.unwrap(), b"hello");
        }
    });
}

/// An address that means something on the pod's own link only: Services and peers have no such one.
#[test]
fn r38_what_goes_to_a_link_local_address_passes_and_no_member_takes_it() {
    on_a_node(|mut node| async move {
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        let outsider = node.network.pod("outsider");
        let _apps = (b.echo(8080).await, outsider.echo(8080).await);
        for pod in [&a, &b, &outsider] {
            pod.ns.sh(&format!(
                "ip addr add {}/64 dev eth0 nodad",
                link_local(pod)
            ));
        }
        let mut stream = connect_link_local(&a, &outsider, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "outsider");
        for from in [&a, &outsider] {
            assert!(refused(connect_link_local(from, &b, 8080).await).await);
        }
    });
}

fn link_local(pod: &Pod) -> Ipv6Addr {
    let [.., last] = pod.ip.octets();
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into())
}

async fn connect_link_local(from: &Pod, to: &Pod, port: u16) -> io::Result<TcpStream> {
    let scope = from.ns.run(|| nix::net::if_::if_nametoindex("eth0"))?;
    let to = SocketAddrV6::new(link_local(to), port, 0, scope);
    let limit = Duration::from_secs(5);
    let stream = from
        .ns
        .run(|| std::net::TcpStream::connect_timeout(&to.into(), limit))?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
