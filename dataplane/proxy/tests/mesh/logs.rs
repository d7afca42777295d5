//! A standard output that nobody reads.
use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::harness::hammer::Hammer;
use crate::harness::http::get_port;
use crate::harness::{Mesh, eventually};

/// More than the pipe and the proxy's own queue hold: two lines a visit, of some 700 bytes each.
const MANY: usize = 1500;

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_standard_output_that_nobody_reads_holds_up_no_connection() {
    let (mut mesh, unread) = Mesh::unread(&[("TULLE_LOG", "info")]).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    mesh.conversation.snapshot_sent().unwrap();
    let hammer = Hammer::start(&a, b.ip, 8080, 8);
    eventually("visits", || (hammer.served() >= MANY).then_some(())).await;
    let readiness = get_port(&mesh.network.host, 15021, "/healthz/ready").unwrap();
    assert_eq!(readiness.0, 200);
    assert_eq!(hammer.stop(), Vec::<String>::new());
    let (_, metrics) = get_port(&mesh.network.host, 15000, "/metrics").unwrap();
    let dropped = metrics
        .lines()
        .find(|line| line.starts_with("tulle_proxy_log_lines_dropped_total{kind=\"access\"}"));
    assert!(!dropped.unwrap().ends_with(" 0"), "{metrics}");

    mesh.proxy.terminate();
    let lines: Vec<Value> = BufReader::new(unread)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let told = lines.iter().find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("dropped"))
    });
    let told = told.expect("it says so once it is read");
    assert_eq!(told["level"], "WARN");
    assert!(told["access"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["warnings"], 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_proxy_ends_whether_its_log_is_read_or_not() {
    let (mut mesh, unread) = Mesh::unread(&[("TULLE_LOG", "info")]).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let hammer = Hammer::start(&a, b.ip, 8080, 8);
    eventually("visits", || (hammer.served() >= 200).then_some(())).await;
    hammer.stop();
    mesh.proxy.terminate();
    eventually("its end", || mesh.proxy.ended()).await;
    drop(unread);
}
