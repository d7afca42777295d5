//! Services by their addresses.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tulle_wire::workload::{NetworkAddress, Port, Service, WorkloadStatus};

use crate::harness::Mesh;
use crate::harness::app::{greeting, refused};
use crate::harness::pod::Pod;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

fn cart() -> Service {
    Service {
        name: "cart".into(),
        namespace: "shop".into(),
        hostname: "cart.shop.svc.cluster.local".into(),
        addresses: vec![NetworkAddress {
            address: VIP.octets().to_vec().into(),
            ..Default::default()
        }],
        ports: vec![Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        ..Default::default()
    }
}

fn back(mesh: &Mesh, pod: &Pod, status: WorkloadStatus, hbone: bool) {
    mesh.control.announce(pod, |workload| {
        workload.services.insert(
            "shop/cart.shop.svc.cluster.local".into(),
            Default::default(),
        );
        workload.status = status.into();
        workload.tunnel_protocol = i32::from(hbone);
    });
}

async fn endpoints(mesh: &Mesh, count: usize) {
    mesh.told(|dump| {
        dump["services"][0]["endpoints"]
            .as_array()
            .is_some_and(|all| all.len() == count)
    })
    .await;
}

async fn answers(from: &Pod, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let mut stream = from.connect(VIP, 80).await.unwrap();
        *counts
            .entry(greeting(&mut stream).await.unwrap())
            .or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_spreads_over_its_healthy_endpoints() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let plain = mesh.outsider("plain");
    let (_b, _c, _plain) = (
        b.echo(8080).await,
        c.echo(8080).await,
        plain.echo(8080).await,
    );
    mesh.control.service(cart());
    back(&mesh, &b, WorkloadStatus::Healthy, true);
    back(&mesh, &c, WorkloadStatus::Healthy, true);
    // An endpoint outside the mesh is reached as it is.
    back(&mesh, &plain, WorkloadStatus::Healthy, false);
    endpoints(&mesh, 3).await;
    let spread = answers(&a, 60).await;
    assert!(
        spread.len() == 3 && spread.values().all(|count| *count >= 5),
        "{spread:?}"
    );

    back(&mesh, &c, WorkloadStatus::Unhealthy, true);
    back(&mesh, &plain, WorkloadStatus::Unhealthy, false);
    mesh.told(|dump| {
        dump["workloads"]
            .to_string()
            .matches("\"healthy\":false")
            .count()
            == 2
    })
    .await;
    assert_eq!(
        answers(&a, 20).await,
        BTreeMap::from([("b".to_owned(), 20)])
    );

    back(&mesh, &b, WorkloadStatus::Unhealthy, true);
    mesh.told(|dump| {
        dump["workloads"]
            .to_string()
            .matches("\"healthy\":false")
            .count()
            == 3
    })
    .await;
    assert!(
        refused(a.connect(VIP, 80).await).await,
        "nobody is left to answer"
    );
    assert!(
        refused(a.connect(VIP, 81).await).await,
        "there is no such port"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_session_affinity_keeps_a_client_at_its_endpoint_while_that_is_healthy() {
    let mut mesh = Mesh::start().await;
    let (a, b, c, d) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
        mesh.pod("d").await,
    );
    let (_b, _c, _d) = (b.echo(8080).await, c.echo(8080).await, d.echo(8080).await);
    mesh.control.service(Service {
        client_affinity_seconds: 10_800,
        ..cart()
    });
    let all = [&b, &c, &d];
    for endpoint in all {
        back(&mesh, endpoint, WorkloadStatus::Healthy, true);
    }
    endpoints(&mesh, 3).await;
    let first = answers(&a, 30).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let kept = |counts: &BTreeMap<String, usize>| counts.keys().next().cloned();

    let was = all
        .into_iter()
        .find(|pod| Some(&pod.name) == kept(&first).as_ref());
    back(&mesh, was.unwrap(), WorkloadStatus::Unhealthy, true);
    mesh.told(|dump| dump["workloads"].to_string().contains("\"healthy\":false"))
        .await;
    let second = answers(&a, 30).await;
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(kept(&first), kept(&second));

    back(&mesh, was.unwrap(), WorkloadStatus::Healthy, true);
    mesh.told(|dump| !dump["workloads"].to_string().contains("\"healthy\":false"))
        .await;
    assert_eq!(answers(&a, 30).await, second, "nobody is sent back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_named_in_the_log() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _b = b.echo(8080).await;
    mesh.control.service(cart());
    back(&mesh, &b, WorkloadStatus::Healthy, true);
    endpoints(&mesh, 1).await;
    answers(&a, 1).await;
    let lines = mesh.access_log(2).await;
    let outbound = lines
        .iter()
        .find(|line| line["direction"] == "outbound")
        .unwrap();
    assert_eq!(
        outbound["destination_service"],
        "cart.shop.svc.cluster.local"
    );
    assert_eq!(outbound["destination"], "10.96.0.1:80");
    assert_eq!(outbound["upstream"], format!("{}:15008", b.ip));
}
