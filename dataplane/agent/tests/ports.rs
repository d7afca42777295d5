//! The proxy's ports in a pod, attacked by the pod's own root. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixture::node::{TestNode, UID, mesh, running_pod, server};
use fixture::proxy::Proxy;
use fixture::{PodNet, connect, echoes, eventually, on_a_node};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tulle_names::PROXY_MARK;
use tulle_names::PROXY_PORTS;

const LONG: Duration = Duration::from_secs(600);

/// Every address of the pod that a listener can have.
const ADDRESSES: [&str; 6] = [
    "0.0.0.0",
    "127.0.0.1",
    "10.99.0.2",
    "[::]",
    "[::1]",
    "[fd99::2]",
];

/// Binds as a process of the pod does that wants to share the port with whoever has it.
async fn bind_sharing(net: &PodNet, address: &str) -> nix::Result<OwnedFd> {
    let address: SocketAddr = address.parse().unwrap();
    let attempt = move || {
        let family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let bound = || {
            let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            setsockopt(&fd, sockopt::ReusePort, &true)?;
            setsockopt(&fd, sockopt::Mark, &PROXY_MARK)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
            Ok(fd)
        };
        Ok(bound())
    };
    net.pod().run(attempt).await.unwrap()
}

async fn assert_no_port_is_shared(net: &PodNet) {
    for port in PROXY_PORTS {
        for address in ADDRESSES {
            let address = format!("{address}:{port}");
            let bound = bind_sharing(net, &address).await.map(drop);
            assert_eq!(bound, Err(Errno::EADDRINUSE), "{address}");
        }
    }
}

/// Enrols the pod and waits until a proxy of its own has it.
async fn secured(node: &TestNode) -> Proxy {
    let proxy = Proxy::connect(node).await;
    node.cluster.label("shop", Some("ambient"));
    eventually("the proxy has the pod", || proxy.has(&format!("add {UID}"))).await;
    eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
    proxy
}

/// A process of the pod that listens where the proxy should.
async fn listen_instead(net: &PodNet, address: &str) -> OwnedFd {
    let foreign = bind_sharing(net, address).await.unwrap();
    listen(&foreign, Backlog::new(8).unwrap()).unwrap();
    foreign
}

#[test]
fn r31_no_process_of_a_captured_pod_shares_a_port_of_the_proxys() {
    on_a_node(async {
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let bound_before = bind_sharing(&net, "[::]:15008").await.unwrap();
        let proxy = secured(&node).await;
        assert_eq!(
            listen(&bound_before, Backlog::new(8).unwrap()),
            Err(Errno::EADDRINUSE)
        );
        drop(bound_before);
        assert_no_port_is_shared(&net).await;
        drop(proxy);
        assert_no_port_is_shared(&net).await;
        let _proxy = secured(&node).await;
        node.stop();
        assert_no_port_is_shared(&net).await;
        node.restart().await;
        let _proxy = secured(&node).await;
        assert_no_port_is_shared(&net).await;
    });
}

#[test]
fn r31_a_listener_that_bears_the_proxys_mark_is_foreign_all_the_same() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let foreign = listen_instead(&net, "[::]:15008").await;
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the port is in use", || node.is("Failed/PortInUse", false)).await;
        assert!(!net.in_pod("nft list ruleset").contains("redirect"));
        drop(foreign);
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
    });
}

#[test]
fn r31_a_port_taken_while_agent_and_proxy_were_gone_is_named_and_the_pod_is_not_secured() {
    on_a_node(async {
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let proxy = secured(&node).await;
        node.stop();
        drop(proxy);
        eventually("the ports are free", || net.listening() == 0).await;
        let foreign = listen_instead(&net, "[::]:15006").await;
        node.restart().await;
        let proxy = Proxy::connect(&node).await;
        eventually("the port is in use", || node.is("Failed/PortInUse", true)).await;
        let message = node.cluster.stored_pod(UID).unwrap().message;
        assert!(message.contains("15006"), "{message}");
        assert!(proxy.seen.inbound.load(Ordering::SeqCst) == 0);
        drop(foreign);
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert_no_port_is_shared(&net).await;
    });
}

#[test]
fn r31_connections_wait_through_a_restart_of_the_agent_and_a_crash_of_the_proxy() {
    on_a_node(async {
        let (mut node, net) = running_pod(mesh(LONG)).await;
        let proxy = secured(&node).await;
        drop(proxy);
        let first = connect(&net.pod(), &server()).await.unwrap();
        let proxy = secured(&node).await;
        assert!(echoes(&first));
        node.stop();
        node.restart().await;
        drop(proxy);
        // The listeners are the agent's again by now, or nobody's.
        eventually("the agent is back", || node.zds().exists()).await;
        let second = connect(&net.pod(), &server()).await.unwrap();
        let _proxy = secured(&node).await;
        assert!(echoes(&second));
    });
}

#[test]
fn r25_while_proxies_are_exchanged_no_connection_is_refused_or_lost() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let mut proxy = secured(&node).await;
        let (pod, is_over) = (net.pod(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let visits = tokio::spawn(async move {
            let mut count = 0;
            while !over.load(Ordering::SeqCst) {
                let visit = connect(&pod, &server()).await.unwrap();
                assert!(echoes(&visit), "visit {count}");
                count += 1;
            }
            count
        });
        let mut draining = Vec::new();
        for _ in 0..5 {
            let next = secured(&node).await;
            let served = proxy.seen.outbound.load(Ordering::SeqCst);
            proxy.drain();
            draining.push(std::mem::replace(&mut proxy, next));
            eventually("the next one serves", || {
                proxy.seen.outbound.load(Ordering::SeqCst) > 20 && served > 0
            })
            .await;
        }
        is_over.store(true, Ordering::SeqCst);
        assert!(visits.await.unwrap() > 100);
    });
}

#[test]
fn r31_a_proxy_that_takes_no_listeners_listens_itself_and_alone() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        // Such a proxy listens on IPv4 alone here: another can listen beside it.
        let beside = listen_instead(&net, "[::1]:15008").await;
        let proxy = Proxy::foreign(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the port is in use", || node.is("Failed/PortInUse", false)).await;
        drop(beside);
        eventually("the pod is secured", || node.is("Secured/Secured", true)).await;
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        assert_eq!(proxy.seen.outbound.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_proxy_of_another_make_gets_the_pod_once_the_one_before_is_gone() {
    on_a_node(async {
        let (node, net) = running_pod(mesh(LONG)).await;
        let older = secured(&node).await;
        let newer = Proxy::foreign(&node).await;
        eventually("it is refused the ports", || newer.has("snapshot")).await;
        assert!(node.is("Secured/Secured", true), "the older one serves");
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        drop(older);
        eventually("the newer one serves", || {
            newer.messages().len() > 2 && node.is("Secured/Secured", true)
        })
        .await;
        assert!(echoes(&connect(&net.pod(), &server()).await.unwrap()));
        assert_eq!(newer.seen.outbound.load(Ordering::SeqCst), 1);
    });
}
