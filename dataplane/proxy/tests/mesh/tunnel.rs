//! From an application to another, through a tunnel.
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::app::{exchange, greeting, limited, refused};
use crate::harness::http::get_port;
use crate::harness::{Mesh, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_reaches_another_and_is_seen_as_who_it_is() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
    assert_eq!(
        app.peers()[0].ip(),
        IpAddr::from(a.ip),
        "the application sees who calls"
    );
    drop(stream);

    let lines = mesh.access_log(2).await;
    for line in &lines {
        assert_eq!(line["protocol"], "hbone");
        assert_eq!(line["source_identity"], a.identity());
        assert_eq!(line["destination_identity"], b.identity());
        assert_eq!(line["bytes_received"], 5);
        assert_eq!(line["bytes_sent"], 7);
        assert_eq!(line["trace"], lines[0]["trace"]);
    }
    let directions: Vec<_> = lines
        .iter()
        .filter_map(|line| line["direction"].as_str())
        .collect();
    assert!(
        directions.contains(&"outbound") && directions.contains(&"inbound"),
        "{directions:?}"
    );

    let (_, metrics) = get_port(&mesh.network.host, 15000, "/metrics").unwrap();
    let closed = metrics.lines().filter(|line| {
        line.starts_with("istio_tcp_connections_closed_total{")
            && line.contains("connection_security_policy=\"mutual_tls\"")
            && line.contains("source_workload=\"a\"")
            && line.contains("destination_workload=\"b\"")
            && line.ends_with(" 1")
    });
    assert_eq!(closed.count(), 2, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_and_ends_are_passed_on() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    let sent: Vec<u8> = (0..24_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut read, mut write) = stream.split();
    let mut received = Vec::new();
    let writing = async {
        write.write_all(&sent).await?;
        write.shutdown().await
    };
    // The application ends its direction only after ours has ended.
    let both = async { tokio::try_join!(writing, read.read_to_end(&mut received)) };
    limited(both).await.unwrap().unwrap();
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_reaches_itself() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let _app = a.echo(8080).await;
    let mut stream = a.connect(a.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_a_refusal() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    assert!(refused(a.connect(b.ip, 9).await).await);
    let lines = mesh.access_log(2).await;
    let errors: Vec<_> = lines
        .iter()
        .filter_map(|line| line["error"].as_str())
        .collect();
    assert!(
        errors.iter().any(|error| error.contains("503")),
        "{errors:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_ports_are_not_reached_through_it() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    for port in [15001, 15006, 15008] {
        assert!(refused(a.connect(b.ip, port).await).await, "{port}");
    }
    // Not by the pod's own hand either.
    for port in [15001, 15006] {
        assert!(
            refused(a.connect([127, 0, 0, 1], port).await).await,
            "{port}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_share_tunnels() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let app = b.echo(8080).await;
    let mut open = Vec::new();
    for _ in 0..150 {
        let mut stream = a.connect(b.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "b");
        open.push(stream);
    }
    assert_eq!(app.peers().len(), 150);
    let tunnels = eventually("the count of tunnels", || {
        let (_, metrics) = get_port(&mesh.network.host, 15000, "/metrics").ok()?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("tulle_proxy_tunnels_opened_total"))?;
        line.split(' ').nth(1)?.parse::<u32>().ok()
    })
    .await;
    // A hundred streams fit into one; there is one a processor, up to eight, before any is full.
    assert!((2..=8).contains(&tunnels), "{tunnels} tunnels");
}
