//! R38: an application that stops reading stalls its own connection and nobody else's.
use tokio::net::TcpStream;

use crate::harness::Mesh;
use crate::harness::app::{Flood, Mute, exchange, fill, greeting};
use crate::harness::authority::{Validity, uri};
use crate::harness::foreign::Server;
use crate::harness::pod::Pod;

/// Enough that every tunnel between two pods carries several of them, however many there are.
const STALLED: usize = 40;
const OTHERS: usize = 8;

/// Connections that were open before others stall, and one that comes after.
struct Others(Vec<TcpStream>);

impl Others {
    async fn open(from: &Pod, to: &Pod) -> Self {
        let mut open = Vec::new();
        for _ in 0..OTHERS {
            let mut stream = from.connect(to.ip, 8080).await.unwrap();
            assert_eq!(greeting(&mut stream).await.unwrap(), to.name);
            open.push(stream);
        }
        Self(open)
    }

    async fn are_served(mut self, from: &Pod, to: &Pod) {
        let mut newcomer = from.connect(to.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut newcomer).await.unwrap(), to.name);
        self.0.push(newcomer);
        let text = vec![7; 100_000];
        for (index, stream) in self.0.iter_mut().enumerate() {
            let back = exchange(stream, &text).await;
            assert!(back.is_ok_and(|back| back == text), "stream {index}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_clients_that_stop_reading_stall_themselves_only() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _echo = b.echo(8080).await;
    let flood = Flood::start(&b, 8081);
    let others = Others::open(&a, &b).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(a.connect(b.ip, 8081).await.unwrap());
    }
    flood.stalled(STALLED).await;
    others.are_served(&a, &b).await;
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_servers_that_stop_reading_stall_themselves_only() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _echo = b.echo(8080).await;
    let _mute = Mute::start(&b, 8081);
    let others = Others::open(&a, &b).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(a.connect(b.ip, 8081).await.unwrap());
    }
    futures::future::join_all(stalled.iter_mut().map(fill)).await;
    others.are_served(&a, &b).await;
}

/// A peer's connection window is its own: where it has room for a few stalled streams only, those who come
/// later get a tunnel beside.
#[tokio::test(flavor = "multi_thread")]
async fn r38_a_tunnel_whose_peer_takes_no_more_is_left_to_those_it_has() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.outsider("b"));
    mesh.control.announce(&b, |_| {});
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/b"))
        .await;
    let credentials = mesh
        .authority
        .credentials(&[uri(&b.identity())], Validity::Now);
    let server = Server::start(&b, &credentials);
    let mut stalled = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stalled).await.unwrap(), "b");
    // It gives no room back for what it has read.
    fill(&mut stalled).await;
    let mut newcomer = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut newcomer).await.unwrap(), "b");
    assert_eq!(exchange(&mut newcomer, b"hello").await.unwrap(), b"hello");
    assert_eq!(server.tunnels(), 2);
}
