//! Coming, staying and going: of pods, of the proxy, and of those it talks to.
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::AsyncWriteExt;

use crate::harness::agent::Listeners;
use crate::harness::app::{exchange, greeting, refused};
use crate::harness::hammer::Hammer;
use crate::harness::http::get_port;
use crate::harness::pod::Pod;
use crate::harness::proxy::Proxy;
use crate::harness::{Mesh, eventually};

fn readiness(mesh: &Mesh) -> (u16, String) {
    get_port(&mesh.network.host, 15021, "/healthz/ready").unwrap()
}

fn listens(pod: &Pod) -> usize {
    let sockets = pod.ns.run(|| {
        std::process::Command::new("ss")
            .args(["-Hltn"])
            .output()
            .unwrap()
            .stdout
    });
    String::from_utf8(sockets)
        .unwrap()
        .lines()
        .filter(|line| line.contains(":150"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_all_its_pods_are_served() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    assert_eq!(readiness(&mesh).0, 503, "the agent has not told all yet");
    mesh.conversation.snapshot_sent().unwrap();
    assert_eq!(readiness(&mesh), (200, "ready\n".into()));
    let status = mesh.proxy.status();
    assert_eq!(status["ready"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["workloads"][0]["uid"], a.uid());
    assert_eq!(status["workloads"][0]["identity"], a.identity());
    assert!(
        status["workloads"][0]["certificateNotAfter"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    eventually("the acknowledged bundle", || {
        mesh.proxy.status()["trustBundleSha256"]
            .as_str()
            .map(str::len)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_readiness_is_yes_or_no_and_the_reason_is_for_the_node() {
    let mesh = Mesh::start().await;
    let no = (503, "not ready\n".to_owned());
    eventually("an answer", || (readiness(&mesh) == no).then_some(())).await;
    let reason = "waiting for the agent's pods to be served";
    eventually("the reason, on loopback and in the log", || {
        let status = mesh.proxy.status();
        let page = readiness(&mesh);
        assert!(page == no, "{page:?}");
        let logged = mesh.proxy.log().contains(reason);
        (status["notReady"] == reason && logged).then_some(())
    })
    .await;
    mesh.conversation.snapshot_sent().unwrap();
    assert_eq!(readiness(&mesh), (200, "ready\n".into()));
    assert!(mesh.proxy.status()["notReady"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_served_is_told_so_and_leaves_nothing() {
    let mut mesh = Mesh::start().await;
    mesh.conversation.snapshot_sent().unwrap();
    let a = mesh.outsider("a");
    let own =
        a.ns.run(|| std::net::TcpListener::bind(("0.0.0.0", 15008)).unwrap());
    let err = mesh.conversation.add(&a).unwrap_err();
    assert!(err.contains("port 15008"), "{err}");
    assert_eq!(listens(&a), 1, "only its own");
    // Else one pod could hold up the roll-out of a new proxy on all nodes.
    assert_eq!(readiness(&mesh).0, 200, "no other proxy could serve it");
    drop(own);
    mesh.conversation.add(&a).unwrap();
    assert_eq!(listens(&a), 3);
    assert_eq!(readiness(&mesh).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_certificate_is_not_acknowledged() {
    let mut mesh = Mesh::start().await;
    mesh.control.refuse_to_sign(true);
    let a = mesh.outsider("a");
    let err = mesh.conversation.add(&a).unwrap_err();
    assert!(
        err.contains("no certificate for spiffe://cluster.local/ns/shop/sa/a"),
        "{err}"
    );
    assert!(err.contains("no pod with that identity"), "{err}");
    assert_eq!(listens(&a), 0);
    mesh.control.refuse_to_sign(false);
    mesh.conversation.add(&a).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_answered_and_the_conversation_goes_on() {
    let mut mesh = Mesh::start().await;
    let a = mesh.outsider("a");
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert!(
        mesh.conversation
            .send(&[0xff; 20], &[])
            .unwrap_err()
            .contains("decoded")
    );
    assert!(
        mesh.conversation
            .send(&[0; 1500], &[])
            .unwrap_err()
            .contains("longer than 1024")
    );
    assert!(
        mesh.conversation
            .add_with(&a, &[])
            .unwrap_err()
            .contains("0 descriptors")
    );
    let netns = a.ns.0.as_raw_fd();
    for count in [2, 3, 5, 9] {
        let refused = mesh.conversation.add_with(&a, &vec![netns; count]);
        assert_eq!(
            refused.unwrap_err(),
            format!("{count} descriptors came where 1 or 4 belong")
        );
    }
    let unheard = Listeners::open(&a);
    let [outbound, plaintext, hbone] = unheard.0.each_ref().map(AsRawFd::as_raw_fd);
    for (descriptors, port) in [
        ([netns, netns, plaintext, hbone], 15001),
        ([netns, outbound, hbone, plaintext], 15006),
        ([netns, outbound, plaintext, null.as_raw_fd()], 15008),
    ] {
        let err = mesh.conversation.add_with(&a, &descriptors).unwrap_err();
        assert!(err.contains(&format!("for port {port}")), "{err}");
    }
    drop(unheard);
    assert!(
        mesh.conversation.add_with(&a, &[null.as_raw_fd()]).is_err(),
        "not a namespace"
    );
    assert!(
        mesh.conversation
            .keep(&a)
            .unwrap_err()
            .contains("not served")
    );
    mesh.conversation.add(&a).unwrap();
    mesh.conversation.keep(&a).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_leaves_is_let_go_when_its_connections_have_ended() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.conversation.delete(&b).unwrap();
    eventually("the ports to close", || (listens(&b) == 0).then_some(())).await;
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    assert!(refused(a.connect(b.ip, 8080).await).await);
    drop(stream);
    eventually("the pod to be let go", || {
        mesh.proxy.log().contains("\"cut_off\":0").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_stay_served_while_the_agent_is_away() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let _app = b.echo(8080).await;
    mesh.conversation.snapshot_sent().unwrap();
    let again = mesh.agent.reconnect(&mut mesh.conversation);
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    // The new snapshot knows two of the three.
    again.add(&a).unwrap();
    again.keep(&b).unwrap();
    again.snapshot_sent().unwrap();
    eventually("the third to be let go", || {
        (listens(&c) == 0).then_some(())
    })
    .await;
    assert_eq!((listens(&a), listens(&b)), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_without_the_control_plane() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let held = mesh.control.heard().len();
    mesh.control.cut_off();
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    // It comes back by itself and says what it holds.
    let resumed = eventually("the new stream", || {
        let heard = mesh.control.heard();
        heard
            .get(held..)?
            .iter()
            .find(|r| !r.initial_resource_versions.is_empty())
            .cloned()
    })
    .await;
    assert!(
        resumed
            .initial_resource_versions
            .contains_key(&a.workload_uid())
    );
    assert_eq!(resumed.resource_names_subscribe, ["*"]);
    assert!(
        resumed
            .node
            .unwrap()
            .id
            .starts_with("ztunnel~127.0.0.1~proxy-1.tulle-system~")
    );
}

/// Two pods of one node whose ports the agent holds.
async fn held_pods(mesh: &mut Mesh) -> [(Pod, Listeners); 2] {
    let pods = ["a", "b"].map(|name| {
        let pod = mesh.outsider(name);
        let listeners = Listeners::open(&pod);
        (pod, listeners)
    });
    for (pod, listeners) in &pods {
        mesh.control.announce(pod, |_| {});
        mesh.conversation.hand(pod, listeners).unwrap();
        pod.capture();
    }
    mesh.conversation.snapshot_sent().unwrap();
    pods
}

/// The second proxy of a node has ports of its own: in a namespace of its own, as its pod is.
fn second_proxy(mesh: &Mesh) -> Proxy {
    let elsewhere = mesh.network.proxy_namespace(&mesh.control);
    Proxy::start(&elsewhere, &mesh.folder.0, "proxy-2", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_successor_takes_over_without_a_failed_connection() {
    let mut mesh = Mesh::start().await;
    let [(a, of_a), (b, of_b)] = held_pods(&mut mesh).await;
    let _app = b.echo(8080).await;
    let mut long = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut long).await.unwrap(), "b");

    let second = second_proxy(&mesh);
    let newer = mesh.agent.accept();
    newer.hand(&a, &of_a).unwrap();
    newer.hand(&b, &of_b).unwrap();
    newer.snapshot_sent().unwrap();
    eventually("the successor to be ready", || second.ready().then_some(())).await;
    assert_eq!(listens(&a), 3, "both accept from the same sockets");

    let hammer = Hammer::start(&a, b.ip, 8080, 16);
    eventually("visits before", || (hammer.served() > 200).then_some(())).await;
    mesh.proxy.terminate();
    eventually("the old one to leave", || {
        (!mesh.proxy.ready()).then_some(())
    })
    .await;
    let at_handover = hammer.served();
    let after = || (hammer.served() > at_handover + 200).then_some(());
    eventually("visits after", after).await;
    assert_eq!(hammer.stop(), Vec::<String>::new());

    // A connection from before the handover still works, and its end is the old proxy's.
    assert_eq!(exchange(&mut long, b"still").await.unwrap(), b"still");
    assert!(mesh.proxy.ended().is_none());
    drop(long);
    let status = eventually("the old proxy to end", || mesh.proxy.ended()).await;
    assert!(status.success());
    assert!(second.access_log().len() > 200, "the successor served");
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_connections_wait_for_the_next_proxy_after_a_crash() {
    let mut mesh = Mesh::start().await;
    let [(a, of_a), (b, of_b)] = held_pods(&mut mesh).await;
    let _app = b.echo(8080).await;
    mesh.proxy.kill();
    let mut waiting = a.connect(b.ip, 8080).await.unwrap();

    let second = second_proxy(&mesh);
    let newer = mesh.agent.accept();
    newer.hand(&b, &of_b).unwrap();
    newer.hand(&a, &of_a).unwrap();
    assert_eq!(greeting(&mut waiting).await.unwrap(), "b");
    assert_eq!(exchange(&mut waiting, b"on").await.unwrap(), b"on");
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_what_does_not_end_by_itself() {
    let mut mesh = Mesh::with(&[("TULLE_DRAIN_SECONDS", "1")]).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    mesh.conversation.snapshot_sent().unwrap();
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.proxy.terminate();
    eventually("readiness to end", || (!mesh.proxy.ready()).then_some(())).await;
    eventually("the proxy to end", || mesh.proxy.ended()).await;
    assert!(refused(Ok(stream)).await);
    let log = mesh.proxy.log();
    let drained = log
        .lines()
        .find(|line| line.contains("\"drained\""))
        .unwrap();
    assert!(!drained.contains("\"cut_off\":0"), "{drained}");
    assert!(!mesh.folder.0.join("proxies/proxy-1.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn r37_readiness_is_answered_while_another_address_holds_all_the_connections_it_can() {
    let mut mesh = Mesh::start().await;
    let stranger = mesh.outsider("stranger");
    mesh.conversation.snapshot_sent().unwrap();
    eventually("ready", || (readiness(&mesh).0 == 200).then_some(())).await;
    let mut held = Vec::new();
    for port in [15020, 15021] {
        for _ in 0..200 {
            // Half a request each.
            if let Ok(mut stream) = stranger.connect([10, 77, 0, 1], port).await {
                let _closed = stream.write_all(b"GET /healthz/ready HTTP/1.1\r\n").await;
                held.push(stream);
            }
        }
    }
    assert_eq!(readiness(&mesh).0, 200);
}
