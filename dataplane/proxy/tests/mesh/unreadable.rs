//! R33: a control plane newer than the proxy. What the proxy cannot read refuses what it covered.
use prost::Message;
use tulle_wire::security::{Action, Authorization, Clause, Rule, Scope};
use tulle_wire::{ADDRESS_TYPE, AUTHORIZATION_TYPE};

use crate::harness::app::{exchange, greeting, refused};
use crate::harness::{Mesh, eventually};

/// Field 15 of whatever message it is appended to: a number.
const NEWER_FIELD: [u8; 2] = [0x78, 1];

/// A policy that matches everybody, with a field this proxy does not know.
fn newer(scope: Scope, action: Action) -> Vec<u8> {
    let policy = Authorization {
        name: "newer".into(),
        namespace: "shop".into(),
        scope: scope.into(),
        action: action.into(),
        rules: vec![Rule {
            clauses: vec![Clause { matches: vec![] }],
        }],
        dry_run: false,
    };
    [policy.encode_to_vec(), NEWER_FIELD.to_vec()].concat()
}

/// Waits for a refusal of the resource, and answers what it says.
async fn nack(mesh: &Mesh, name: &str) -> String {
    eventually("the refusal", || {
        let heard = mesh.control.heard();
        let refusals = heard.into_iter().filter_map(|request| request.error_detail);
        refusals
            .map(|status| status.message)
            .find(|text| text.contains(name))
    })
    .await
}

/// Whether the access log tells, in this direction, of a refusal that says all of this.
fn told(mesh: &Mesh, direction: &str, parts: &[&str]) -> bool {
    mesh.proxy.access_log().iter().any(|line| {
        let error = line.get("error").and_then(|error| error.as_str());
        line["direction"] == direction
            && error.is_some_and(|error| parts.iter().all(|part| error.contains(part)))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_workload_with_a_newer_enum_value_is_refused_in_and_out() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let outsider = mesh.outsider("outsider");
    let app = b.echo(8080).await;
    let mut before = outsider.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut before).await.unwrap(), "b");

    mesh.control
        .announce(&b, |workload| workload.tunnel_protocol = 9);
    let name = b.workload_uid();
    assert!(nack(&mesh, &name).await.contains("tunnel_protocol is 9"));
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(refused(outsider.connect(b.ip, 8080).await).await);
    assert!(refused(Ok(before)).await, "nobody knows who may stay");
    assert_eq!(app.peers().len(), 1, "nobody else reached it");
    for direction in ["outbound", "inbound"] {
        let parts = [name.as_str(), "tunnel_protocol is 9"];
        eventually("the reason", || {
            told(&mesh, direction, &parts).then_some(())
        })
        .await;
    }

    // A control plane that was put back says again what it said before.
    mesh.control.announce(&b, |_| {});
    mesh.told(|dump| dump["unreadable"].as_array().unwrap().is_empty())
        .await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_destination_outside_whose_resource_cannot_be_decoded_is_not_reached() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let b = mesh.outsider("b");
    let app = b.echo(8080).await;
    mesh.control
        .announce(&b, |workload| workload.tunnel_protocol = 0);
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/b"))
        .await;
    mesh.control
        .tell(ADDRESS_TYPE, &b.workload_uid(), Some(vec![0xff; 8]));
    nack(&mesh, &b.workload_uid()).await;
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(app.peers().is_empty());
    // Withdrawn, it is outside the mesh again.
    mesh.control.tell(ADDRESS_TYPE, &b.workload_uid(), None);
    mesh.told(|dump| dump["unreadable"].as_array().unwrap().is_empty())
        .await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_an_allow_with_a_newer_field_allows_nobody() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let app = b.echo(8080).await;
    mesh.control.tell(
        AUTHORIZATION_TYPE,
        "shop/newer",
        Some(newer(Scope::Namespace, Action::Allow)),
    );
    assert!(nack(&mesh, "shop/newer").await.contains("field 15"));
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(app.peers().is_empty());
    let parts = ["shop/newer", "field 15"];
    eventually("the reason", || mesh_says(&mesh, &parts)).await;
}

fn mesh_says(mesh: &Mesh, parts: &[&str]) -> Option<()> {
    told(mesh, "inbound", parts).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_deny_with_a_newer_field_denies_what_it_covers() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let (_app, _other) = (b.echo(8080).await, c.echo(8080).await);
    mesh.control.announce(&b, |workload| {
        workload.authorization_policies = vec!["shop/newer".into()];
    });
    mesh.control.tell(
        AUTHORIZATION_TYPE,
        "shop/newer",
        Some(newer(Scope::WorkloadSelector, Action::Deny)),
    );
    nack(&mesh, "shop/newer").await;
    assert!(refused(a.connect(b.ip, 8080).await).await);
    eventually("the reason", || mesh_says(&mesh, &["shop/newer"])).await;
    let mut stream = a.connect(c.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_a_policy_that_can_no_longer_be_read_is_not_left_in_its_older_version() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    mesh.control.policy(Authorization {
        name: "newer".into(),
        namespace: "shop".into(),
        scope: Scope::Namespace.into(),
        action: Action::Allow.into(),
        rules: vec![Rule { clauses: vec![] }],
        dry_run: false,
    });
    mesh.told(|dump| dump["policies"].to_string().contains("shop/newer"))
        .await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    assert_eq!(exchange(&mut stream, b"on").await.unwrap(), b"on");
    mesh.control
        .tell(AUTHORIZATION_TYPE, "shop/newer", Some(vec![0xff; 8]));
    assert!(refused(Ok(stream)).await, "what it allowed is ended");
    assert!(refused(a.connect(b.ip, 8080).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_what_could_not_be_read_is_asked_for_again() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    let b = mesh.outsider("b");
    mesh.control
        .announce(&b, |workload| workload.tunnel_protocol = 9);
    nack(&mesh, &b.workload_uid()).await;
    let heard = mesh.control.heard().len();
    mesh.control.cut_off();
    let resumed = eventually("the new stream", || {
        let requests = mesh.control.heard();
        let mut later = requests.into_iter().skip(heard);
        later.find(|request| !request.initial_resource_versions.is_empty())
    })
    .await;
    let held = |name: &str| resumed.initial_resource_versions.get(name).cloned();
    assert_eq!(held(&a.workload_uid()).as_deref(), Some("1"));
    // In no version: whatever the control plane has of it by then is news, and its absence too.
    assert_eq!(held(&b.workload_uid()).as_deref(), Some(""));
}
