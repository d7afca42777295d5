//! Connections made in plaintext to a peer that joins the mesh afterwards. Needs root, `ip` and `nft`.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and uses a part of the harness"
)]

#[path = "mesh/harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tulle_wire::workload::TunnelProtocol;

use harness::app::{Echo, exchange, greeting, limited, refused};
use harness::pod::Pod;
use harness::{Mesh, eventually};

const HOUR_MS: u64 = 3_600_000;

/// Whether the other side has ended the connection, and not reset it.
async fn ended(mut stream: TcpStream) -> bool {
    let read = limited(stream.read(&mut [0])).await.unwrap();
    matches!(read, Ok(0))
}

/// Orders the first proxy to end a pod's existing connections; answers how many it ended.
fn end(mesh: &Mesh, pod: &Pod, quiet_milliseconds: Option<u64>) -> u64 {
    let order = serde_json::json!({ "uid": pod.uid(), "quietMilliseconds": quiet_milliseconds });
    let (status, answer) = post(mesh, &order.to_string());
    assert_eq!(status, "200", "{answer}");
    serde_json::from_str::<serde_json::Value>(&answer).unwrap()["ended"]
        .as_u64()
        .unwrap()
}

fn post(mesh: &Mesh, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(mesh.folder.0.join("proxies/proxy-1.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(
        stream,
        "POST /connections/existing/end HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), body.to_owned())
}

fn older(mesh: &Mesh, pod: &Pod) -> u64 {
    workload(mesh, pod)["existingConnections"].as_u64().unwrap()
}

/// What the first proxy's status says of a pod.
fn workload(mesh: &Mesh, pod: &Pod) -> serde_json::Value {
    let status = mesh.proxy.status();
    let workloads = status["workloads"].as_array().unwrap();
    let workload = workloads.iter().find(|one| one["uid"] == pod.uid());
    workload.unwrap().clone()
}

/// `a` has a connection to `b`, made before `b` was announced; `b` is in the mesh now.
async fn joined(mesh: &mut Mesh) -> (Pod, Pod, Echo, TcpStream) {
    let (a, b) = (mesh.pod("a").await, mesh.outsider("b"));
    mesh.control.announce(&b, |workload| {
        workload.tunnel_protocol = TunnelProtocol::None.into();
    });
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/b"))
        .await;
    let app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    assert_eq!(older(mesh, &a), 0, "b is outside the mesh");
    assert_eq!(end(mesh, &a, None), 0);

    mesh.conversation.add(&b).unwrap();
    b.capture();
    mesh.control.announce(&b, |_| {});
    eventually("the connection counts as older", || {
        (older(mesh, &a) == 1).then_some(())
    })
    .await;
    (a, b, app, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_before_its_peer_joined_is_counted_and_ended_in_a_quiet_moment() {
    let mut mesh = Mesh::start().await;
    let outsider = mesh.outsider("outsider");
    let (_outside, inside) = (outsider.echo(8080).await, joined(&mut mesh).await);
    let (a, b, _app, mut stream) = inside;
    let mut out = a.connect(outsider.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut out).await.unwrap(), "outsider");

    assert_eq!(end(&mesh, &a, Some(HOUR_MS)), 0, "it was busy just now");
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    assert_eq!(end(&mesh, &b, None), 0, "it is not the other pod's");
    eventually("a quiet moment", || {
        (end(&mesh, &a, Some(100)) == 1).then_some(())
    })
    .await;
    assert!(ended(stream).await, "it is ended as a server ends it");
    assert_eq!(older(&mesh, &a), 0);

    let mut again = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut again).await.unwrap(), "b");
    assert_eq!(older(&mesh, &a), 0, "through the tunnel");
    assert_eq!(
        exchange(&mut out, b"outside").await.unwrap(),
        b"outside",
        "what goes outside goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_sends_in_plaintext_counts_from_the_moment_that_both_are_announced() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.outsider("a"), mesh.pod("b").await);
    mesh.control.announce(&b, |workload| {
        workload.tunnel_protocol = TunnelProtocol::None.into();
    });
    eventually("b is not announced any more", || {
        (workload(&mesh, &b)["announced"] == false).then_some(())
    })
    .await;
    let _app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.control.announce(&b, |_| {});
    eventually("b is announced", || {
        (workload(&mesh, &b)["announced"] == true).then_some(())
    })
    .await;
    assert_eq!(older(&mesh, &b), 0, "a is outside the mesh");

    mesh.control.announce(&a, |_| {});
    eventually("the connection counts as older", || {
        (older(&mesh, &b) == 1).then_some(())
    })
    .await;
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    assert_eq!(end(&mesh, &b, Some(HOUR_MS)), 0, "it was busy just now");
    assert_eq!(end(&mesh, &b, None), 1);
    assert!(refused(Ok(stream)).await, "it is ended");
    assert_eq!(older(&mesh, &b), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_it_is_ended_at_once() {
    let mut mesh = Mesh::start().await;
    let (a, _b, _app, mut stream) = joined(&mut mesh).await;
    assert_eq!(exchange(&mut stream, b"busy").await.unwrap(), b"busy");
    assert_eq!(end(&mesh, &a, None), 1);
    assert!(refused(Ok(stream)).await);
    assert_eq!(older(&mesh, &a), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_read_ends_nothing() {
    let mut mesh = Mesh::start().await;
    let (a, _b, _app, mut stream) = joined(&mut mesh).await;
    for order in [
        String::new(),
        "{}".to_owned(),
        format!(r#"{{"uid":"{}","quietMilliseconds":-1}}"#, a.uid()),
        format!(r#"{{"uid":"{}","quiet":9}}"#, a.uid()),
        " ".repeat(5000),
    ] {
        assert_eq!(post(&mesh, &order).0, "400", "{order}");
    }
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_draining_proxy_and_a_pod_let_go_count_and_end_theirs_to_the_last() {
    for leaves in [
        |mesh: &Mesh, _a: &Pod| mesh.proxy.terminate(),
        |mesh: &Mesh, a: &Pod| mesh.conversation.delete(a).unwrap(),
    ] {
        let mut mesh = Mesh::with(&[("TULLE_DRAIN_SECONDS", "120")]).await;
        let (a, _b, _app, mut stream) = joined(&mut mesh).await;
        leaves(&mesh, &a);
        eventually("the pod to leave", || {
            (workload(&mesh, &a)["draining"] == true).then_some(())
        })
        .await;
        assert_eq!(older(&mesh, &a), 1, "still open, still counted");
        assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
        assert_eq!(end(&mesh, &a, None), 1);
        assert!(refused(Ok(stream)).await, "it is ended");
    }
}
