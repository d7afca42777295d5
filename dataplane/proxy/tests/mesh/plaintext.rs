//! What is not tunnelled, and what must not be plaintext.
use std::net::IpAddr;

use tulle_wire::workload::{NetworkMode, Transition, TunnelProtocol};

use crate::harness::Mesh;
use crate::harness::app::{exchange, greeting, refused};
use crate::harness::control::strict_mtls;

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_comes_in_from_outside_and_goes_out_to_it() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let outsider = mesh.outsider("outsider");
    let (inside, outside) = (a.echo(8080).await, outsider.echo(8080).await);

    let mut stream = outsider.connect(a.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "a");
    assert_eq!(exchange(&mut stream, b"in").await.unwrap(), b"in");
    assert_eq!(
        inside.peers()[0].ip(),
        IpAddr::from(outsider.ip),
        "the application sees who calls"
    );
    drop(stream);

    let mut stream = a.connect(outsider.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "outsider");
    assert_eq!(exchange(&mut stream, b"out").await.unwrap(), b"out");
    assert_eq!(outside.peers()[0].ip(), IpAddr::from(a.ip));
    drop(stream);
    for line in mesh.access_log(2).await {
        assert_eq!(line["protocol"], "plaintext");
        assert!(!line.contains_key("source_identity"), "{line:?}");
    }
}

/// A node sends for many: its own processes, its host-network pods, and those whose source it changes (NodePort).
#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_address_of_a_node_is_called_the_node_and_none_of_its_pods() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    // It stands for another node, on which one host-network pod runs.
    let node = mesh.outsider("tulle-agent-x");
    let (_inside, _outside) = (a.echo(8080).await, node.echo(8080).await);
    mesh.control.announce(&node, |workload| {
        workload.tunnel_protocol = TunnelProtocol::None.into();
        workload.network_mode = NetworkMode::HostNetwork.into();
        workload.node = "node-2".into();
    });
    mesh.told(|dump| dump["workloads"].to_string().contains("tulle-agent-x"))
        .await;
    let mut stream = node.connect(a.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "a");
    drop(stream);
    let mut stream = a.connect(node.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "tulle-agent-x");
    drop(stream);
    for line in mesh.access_log(2).await {
        let far = match line["direction"].as_str() {
            Some("inbound") => "source",
            _ => "destination",
        };
        assert_eq!(line[&format!("{far}_node")], "node-2");
        assert!(!line.contains_key(&format!("{far}_workload")), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_strict_refuses_plaintext_and_goes_on_with_tunnels() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let outsider = mesh.outsider("outsider");
    let app = b.echo(8080).await;
    let mut before = outsider.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut before).await.unwrap(), "b");
    let mut tunnelled = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut tunnelled).await.unwrap(), "b");

    mesh.control.policy(strict_mtls());
    mesh.told(|dump| dump["policies"].to_string().contains("strict-mtls"))
        .await;
    assert!(refused(outsider.connect(b.ip, 8080).await).await);
    assert!(
        refused(Ok(before)).await,
        "a connection from before is ended"
    );
    assert_eq!(exchange(&mut tunnelled, b"still").await.unwrap(), b"still");
    let mut another = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut another).await.unwrap(), "b");
    assert_eq!(app.peers().len(), 3);
    // Out to what is outside the mesh goes on.
    let _outside = outsider.echo(8080).await;
    let mut out = b.connect(outsider.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut out).await.unwrap(), "outsider");
}

fn transition(leaving: bool) -> Transition {
    Transition {
        exempt_policies: vec!["tulle-system/strict-mtls".into()],
        leaving,
    }
}

/// What a member sends in plaintext because it has not heard yet that the pod is captured.
#[tokio::test(flavor = "multi_thread")]
async fn r24_a_pod_being_enrolled_takes_plaintext_from_members_in_strict_until_its_peers_are_told()
{
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let (member, stranger) = (mesh.outsider("member"), mesh.outsider("stranger"));
    for (pod, enrolling) in [(&member, true), (&stranger, false)] {
        mesh.control.announce(pod, |workload| {
            workload.tunnel_protocol = TunnelProtocol::None.into();
            workload.transition = enrolling.then(|| transition(false));
        });
    }
    mesh.control
        .announce(&b, |workload| workload.transition = Some(transition(false)));
    mesh.control.policy(strict_mtls());
    mesh.told(|dump| {
        let dump = dump.to_string();
        ["strict-mtls", "shop/member", "shop/stranger"]
            .iter()
            .all(|known| dump.contains(known))
    })
    .await;
    let _app = b.echo(8080).await;

    let mut during = member.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut during).await.unwrap(), "b");
    assert!(refused(stranger.connect(b.ip, 8080).await).await);

    mesh.control.announce(&b, |_| {});
    mesh.told(|dump| {
        let workloads = dump["workloads"].as_array().unwrap();
        let told = workloads
            .iter()
            .find(|workload| workload["uid"] == b.workload_uid());
        told.is_some_and(|workload| workload["enrolling"] == false)
    })
    .await;
    assert!(refused(member.connect(b.ip, 8080).await).await);
    // It is ended as what is older than the enrolment is, not cut.
    assert_eq!(exchange(&mut during, b"on").await.unwrap(), b"on");
}

/// Peers that have been told send plaintext while its rules are still there.
#[tokio::test(flavor = "multi_thread")]
async fn r30_a_pod_that_leaves_takes_plaintext_from_anybody_in_strict() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let stranger = mesh.outsider("stranger");
    mesh.control.policy(strict_mtls());
    mesh.told(|dump| dump["policies"].to_string().contains("strict-mtls"))
        .await;
    let _app = b.echo(8080).await;
    assert!(refused(stranger.connect(b.ip, 8080).await).await);
    mesh.control.announce(&b, |workload| {
        workload.tunnel_protocol = TunnelProtocol::None.into();
        workload.transition = Some(transition(true));
    });
    mesh.told(|dump| {
        let workloads = dump["workloads"].as_array().unwrap();
        let mut told = workloads.iter();
        told.any(|workload| workload["uid"] == b.workload_uid() && workload["protocol"] == "NONE")
    })
    .await;
    let mut open = Vec::new();
    for from in [&a, &stranger] {
        let mut stream = from.connect(b.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "b");
        open.push(stream);
    }
    // It comes back before it has left: a stranger's connection does not stay.
    mesh.control.announce(&b, |_| {});
    let (stranger, a) = (open.pop().unwrap(), &mut open[0]);
    assert!(refused(Ok(stranger)).await);
    assert_eq!(exchange(a, b"on").await.unwrap(), b"on");
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_what_is_announced_as_tunnelled_never_goes_plaintext() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    // Announced as HBONE, but nobody answers on its 15008.
    let b = mesh.outsider("b");
    mesh.control.announce(&b, |_| {});
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/b"))
        .await;
    let app = b.echo(8080).await;
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(app.peers().is_empty(), "it was reached in plaintext");
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_a_killed_proxy_lets_nothing_through() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let outsider = mesh.outsider("outsider");
    let (app, outside) = (b.echo(8080).await, outsider.echo(8080).await);
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.proxy.kill();
    assert!(refused(Ok(stream)).await);
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(refused(a.connect(outsider.ip, 8080).await).await);
    assert!(refused(outsider.connect(b.ip, 8080).await).await);
    assert_eq!((app.peers().len(), outside.peers().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubelets_probes_pass_beside_the_proxy() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    mesh.control.policy(strict_mtls());
    mesh.told(|dump| dump["policies"].to_string().contains("strict-mtls"))
        .await;
    let app = a.echo(8080).await;
    let kubelet = mesh.outsider("kubelet");
    kubelet.ns.sh("ip addr add 169.254.7.127/32 dev eth0; ip route replace 10.77.0.0/24 dev eth0 src 169.254.7.127");
    a.ns.sh("ip route add 169.254.7.127/32 dev eth0");
    let mut stream = kubelet.connect(a.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "a");
    assert_eq!(app.peers()[0].ip(), IpAddr::from([169, 254, 7, 127]));
}
