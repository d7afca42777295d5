//! R34: policy and counting reach every connection until it is closed, whoever is leaving.
use tulle_wire::ADDRESS_TYPE;
use tulle_wire::security::{Action, Authorization, Rule, Scope};
use tulle_wire::workload::Workload;

use crate::harness::app::{exchange, greeting, refused};
use crate::harness::pod::Pod;
use crate::harness::{Mesh, eventually};

/// Longer than these tests have patience: nothing ends because its time is up.
const LONG_DRAIN: [(&str, &str); 1] = [("TULLE_DRAIN_SECONDS", "120")];

fn deny_all(scope: Scope) -> Authorization {
    Authorization {
        name: "nobody".into(),
        namespace: "shop".into(),
        scope: scope.into(),
        action: Action::Deny.into(),
        rules: vec![Rule { clauses: vec![] }],
        dry_run: false,
    }
}

/// What the proxy says of a pod, where it says anything.
fn workload(mesh: &Mesh, pod: &Pod) -> Option<serde_json::Value> {
    let status = mesh.proxy.status();
    let workloads = status["workloads"].as_array().unwrap().iter();
    let mut of_pod = workloads.filter(|one| one["uid"] == pod.uid());
    let found = of_pod.next().cloned();
    assert!(of_pod.next().is_none(), "one entry a uid");
    found
}

fn draining(mesh: &Mesh, pod: &Pod) -> Option<()> {
    (workload(mesh, pod)?["draining"] == true).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_policy_reaches_the_connections_of_a_draining_proxy() {
    let mut mesh = Mesh::with(&LONG_DRAIN).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let outsider = mesh.outsider("outsider");
    let _app = b.echo(8080).await;
    mesh.conversation.snapshot_sent().unwrap();
    let mut tunnelled = a.connect(b.ip, 8080).await.unwrap();
    let mut plain = outsider.connect(b.ip, 8080).await.unwrap();
    for stream in [&mut tunnelled, &mut plain] {
        assert_eq!(greeting(stream).await.unwrap(), "b");
    }
    assert_eq!(mesh.proxy.status()["draining"], false);
    assert_eq!(workload(&mesh, &b).unwrap()["draining"], false);

    mesh.proxy.terminate();
    eventually("the drain", || draining(&mesh, &b)).await;
    assert_eq!(mesh.proxy.status()["draining"], true);
    assert_eq!(exchange(&mut tunnelled, b"on").await.unwrap(), b"on");
    mesh.control.policy(deny_all(Scope::Global));
    assert!(refused(Ok(tunnelled)).await);
    assert!(refused(Ok(plain)).await);
    let ended = eventually("the proxy to end", || mesh.proxy.ended()).await;
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_policy_reaches_the_connections_of_a_pod_let_go() {
    let mut mesh = Mesh::with(&LONG_DRAIN).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.conversation.delete(&b).unwrap();
    eventually("the pod to leave", || draining(&mesh, &b)).await;
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    // The control plane has forgotten it: what is in force for its namespace is in force for it.
    mesh.control.tell(ADDRESS_TYPE, &b.workload_uid(), None);
    mesh.told(|dump| !dump["workloads"].to_string().contains("shop/b"))
        .await;
    mesh.control.policy(deny_all(Scope::Namespace));
    assert!(refused(Ok(stream)).await);
    eventually("it is let go", || {
        workload(&mesh, &b).is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_pod_that_is_let_go_and_taken_up_again_is_one_pod() {
    let mut mesh = Mesh::with(&LONG_DRAIN).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    mesh.conversation.delete(&b).unwrap();
    eventually("the pod to leave", || draining(&mesh, &b)).await;
    eventually("its ports to close", || mesh.conversation.add(&b).ok()).await;
    assert_eq!(workload(&mesh, &b).unwrap()["draining"], false);
    mesh.control.policy(deny_all(Scope::Namespace));
    assert!(refused(Ok(stream)).await, "of the pod as it was before");
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_workload_that_comes_back_with_other_policies_is_reviewed() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let (_app, _other) = (b.echo(8080).await, c.echo(8080).await);
    mesh.control.policy(deny_all(Scope::WorkloadSelector));
    mesh.told(|dump| dump["policies"].to_string().contains("shop/nobody"))
        .await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    // The end of another connection shows that the review which the policy called for is over.
    let mut other = a.connect(c.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut other).await.unwrap(), "c");
    let named =
        |workload: &mut Workload| workload.authorization_policies = vec!["shop/nobody".into()];
    mesh.control.announce(&c, named);
    assert!(refused(Ok(other)).await);

    mesh.control.tell(ADDRESS_TYPE, &b.workload_uid(), None);
    mesh.told(|dump| !dump["workloads"].to_string().contains("shop/b"))
        .await;
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    mesh.control.announce(&b, named);
    assert!(refused(Ok(stream)).await);
}
