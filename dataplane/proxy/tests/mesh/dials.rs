//! R38: a dial is one for all who wait for it, and delays nobody who has another tunnel.
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::harness::Mesh;
use crate::harness::app::{exchange, greeting, refused};
use crate::harness::authority::{Validity, uri};
use crate::harness::foreign::Server;
use crate::harness::pod::Pod;

/// A pod of the mesh that takes so many tunnels, and says nothing to who dials then.
async fn far(mesh: &mut Mesh, tunnels: usize) -> (Pod, Server) {
    let far = mesh.outsider("far");
    mesh.control.announce(&far, |_| {});
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/far"))
        .await;
    let shown = [uri(&far.identity())];
    let credentials = mesh.authority.credentials(&shown, Validity::Now);
    let server = Server::of_tunnels(&far, &credentials, tunnels);
    (far, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_dial_that_hangs_delays_nobody_who_finds_room() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let (far, server) = far(&mut mesh, 1).await;
    let mut open = Vec::new();
    let began = Instant::now();
    for _ in 0..30 {
        let mut stream = a.connect(far.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "far");
        open.push(stream);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert_eq!((server.dials(), server.tunnels()), (2, 1));
    assert_eq!(exchange(&mut open[0], b"on").await.unwrap(), b"on");
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_all_who_wait_for_a_dial_hear_of_its_end_at_once() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let (far, server) = far(&mut mesh, 0).await;
    let began = Instant::now();
    let waiting = (0..20).map(|_| async { refused(a.connect(far.ip, 8080).await).await });
    assert!(join_all(waiting).await.iter().all(|refused| *refused));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "it took {took:?}");
    assert_eq!(server.dials(), 1);
}
