//! What peers that mean harm get: nothing, and nobody else notices. R06, R28, R37.
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::harness::Mesh;
use crate::harness::app::{greeting, refused};
use crate::harness::authority::{Credentials, Validity, client, client_speaking, uri};
use crate::harness::foreign::{ask, ask_for, open, request, tunnel};
use crate::harness::pod::Pod;

const PEER: &str = "spiffe://cluster.local/ns/shop/sa/peer";

fn member(mesh: &Mesh) -> Arc<ClientConfig> {
    let shown = mesh.authority.credentials(&[uri(PEER)], Validity::Now);
    client(Some(&shown))
}

/// Whether somebody else is served, and at once.
async fn others_are_served(mesh: &Mesh, from: &Pod, to: &Pod) {
    let started = Instant::now();
    let send = tunnel(from, to, member(mesh)).await.unwrap();
    assert_eq!(ask_for(&send, to, 8080).await, Ok(StatusCode::OK));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_tunnel_leads_to_its_pod_and_nowhere_else() {
    let mut mesh = Mesh::start().await;
    let (b, c) = (mesh.pod("b").await, mesh.pod("c").await);
    let (app, other) = (b.echo(8080).await, c.echo(8080).await);
    let peer = mesh.outsider("peer");
    let send = tunnel(&peer, &b, member(&mesh)).await.unwrap();
    let at = |port: u16| format!("{}:{port}", b.ip);
    for target in [
        // Another pod, and this one by what is not its address.
        format!("{}:8080", c.ip),
        "127.0.0.1:8080".into(),
        "127.0.0.2:8080".into(),
        "127.1:8080".into(),
        "2130706433:8080".into(),
        "0x7f.0.0.1:8080".into(),
        "0.0.0.0:8080".into(),
        "localhost:8080".into(),
        "b.shop.svc.cluster.local:8080".into(),
        "[::1]:8080".into(),
        "[::]:8080".into(),
        "[::ffff:127.0.0.1]:8080".into(),
        // No port, and the proxy's own.
        at(0),
        at(15001),
        at(15006),
        at(15008),
        format!("[::ffff:{}]:15008", b.ip),
        // Cloud metadata, the kubelet, the API server, the source of probes.
        "169.254.169.254:80".into(),
        "10.77.0.1:10250".into(),
        "10.77.0.1:6443".into(),
        "10.96.0.1:443".into(),
        "169.254.7.127:8080".into(),
    ] {
        let answer = ask(&send, Method::CONNECT, &target).await;
        assert_eq!(answer, Ok(StatusCode::BAD_REQUEST), "{target}");
    }
    assert!(app.peers().is_empty() && other.peers().is_empty());
    assert_eq!(ask_for(&send, &b, 8080).await, Ok(StatusCode::OK));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_who_has_no_certificate_of_the_mesh_or_an_older_tls_opens_no_tunnel() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let app = b.echo(8080).await;
    let peer = mesh.outsider("peer");
    let shown = mesh.authority.credentials(&[uri(PEER)], Validity::Now);
    let own = Credentials::self_signed(&[uri(PEER)]);
    let older = client_speaking(&[&rustls::version::TLS12], Some(&shown));
    for (case, config) in [
        ("no certificate", client(None)),
        ("signed by itself", client(Some(&own))),
        ("TLS 1.2", older),
    ] {
        // Of TLS 1.3 a client learns only afterwards whether it was accepted.
        let opened = match tunnel(&peer, &b, config).await {
            Ok(send) => ask_for(&send, &b, 8080).await,
            Err(err) => Err(err),
        };
        assert!(opened.is_err(), "{case}: {opened:?}");
    }
    assert!(app.peers().is_empty());
    others_are_served(&mesh, &peer, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_headers_of_800_kb_are_refused() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let app = b.echo(8080).await;
    let (peer, other) = (mesh.outsider("peer"), mesh.outsider("other"));
    let send = tunnel(&peer, &b, member(&mesh)).await.unwrap();
    let mut large = request(Method::CONNECT, &format!("{}:8080", b.ip));
    for index in 0..100 {
        let name: http::HeaderName = format!("x-{index}").parse().unwrap();
        let value = "a".repeat(8000).parse().unwrap();
        large.headers_mut().insert(name, value);
    }
    let answer = open(&send, large).await.map(|(status, ..)| status);
    assert_ne!(answer, Ok(StatusCode::OK));
    assert!(app.peers().is_empty());
    others_are_served(&mesh, &other, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_streams_opened_and_reset_at_once_end_the_tunnel() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let _app = b.echo(8080).await;
    let (peer, other) = (mesh.outsider("peer"), mesh.outsider("other"));
    let send = tunnel(&peer, &b, member(&mesh)).await.unwrap();
    let target = format!("{}:8080", b.ip);
    let mut opened = 0;
    let ended = loop {
        let ready = match send.clone().ready().await {
            Ok(ready) => ready,
            Err(err) => break err,
        };
        let mut ready = ready;
        match ready.send_request(request(Method::CONNECT, &target), false) {
            Ok((_answer, mut sink)) => sink.send_reset(h2::Reason::CANCEL),
            Err(err) => break err,
        }
        opened += 1;
        assert!(opened < 20_000, "it goes on and on");
    };
    // What is still being written when the tunnel is closed can hide the GOAWAY that said why.
    let told = ended.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    assert!(told || ended.is_io(), "{ended}");
    others_are_served(&mesh, &other, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_half_open_handshakes_of_one_stand_in_nobodys_way() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let peer = mesh.outsider("peer");
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(peer.connect(b.ip, 15008).await.unwrap());
    }
    let started = Instant::now();
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    // More than a peer may have are closed, and not when their time is up.
    assert!(refused(Ok(open.pop().unwrap())).await);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
}
