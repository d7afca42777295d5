//! Policy on real connections.
use tulle_wire::security::string_match::MatchType;
use tulle_wire::security::{Action, Authorization, Clause, Match, Rule, Scope, StringMatch};
use tulle_wire::{ADDRESS_TYPE, AUTHORIZATION_TYPE};

use crate::harness::app::{exchange, greeting, refused};
use crate::harness::{Mesh, eventually};

fn policy(name: &str, scope: Scope, action: Action, principal: &str) -> Authorization {
    let exact = StringMatch {
        match_type: Some(MatchType::Exact(principal.into())),
    };
    let from = Match {
        principals: vec![exact],
        ..Default::default()
    };
    Authorization {
        name: name.into(),
        namespace: "shop".into(),
        scope: scope.into(),
        action: action.into(),
        rules: vec![Rule {
            clauses: vec![Clause {
                matches: vec![from],
            }],
        }],
        dry_run: false,
    }
}

const A: &str = "cluster.local/ns/shop/sa/a";

async fn knows(mesh: &Mesh, policy: &str) {
    mesh.told(|dump| dump["policies"].to_string().contains(policy))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_policy_lets_in_whom_it_names() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let app = b.echo(8080).await;
    mesh.control
        .policy(policy("only-a", Scope::Namespace, Action::Allow, A));
    knows(&mesh, "only-a").await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    assert!(refused(c.connect(b.ip, 8080).await).await);
    assert_eq!(app.peers().len(), 1);
    drop(stream);
    let lines = mesh.access_log(4).await;
    let allowed = lines
        .iter()
        .find(|line| line.get("policy").is_some())
        .unwrap();
    assert_eq!(allowed["policy"], "shop/only-a");
    let told = |direction: &str, part: &str| {
        lines.iter().any(|line| {
            line["direction"] == direction
                && line
                    .get("error")
                    .is_some_and(|error| error.as_str().unwrap().contains(part))
        })
    };
    assert!(
        told("inbound", "none allows it") && told("outbound", "401"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_later_ends_what_it_denies() {
    let mut mesh = Mesh::start().await;
    let (a, b, c) = (
        mesh.pod("a").await,
        mesh.pod("b").await,
        mesh.pod("c").await,
    );
    let _app = b.echo(8080).await;
    let mut from_a = a.connect(b.ip, 8080).await.unwrap();
    let mut from_c = c.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut from_a).await.unwrap(), "b");
    assert_eq!(greeting(&mut from_c).await.unwrap(), "b");
    mesh.control
        .policy(policy("not-a", Scope::Global, Action::Deny, A));
    assert!(refused(Ok(from_a)).await);
    assert_eq!(exchange(&mut from_c, b"on").await.unwrap(), b"on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_not_yet_arrived_is_waited_for() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    mesh.control.announce(&b, |workload| {
        workload.authorization_policies = vec!["shop/chosen".into()]
    });
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/chosen"))
        .await;
    // Nobody may until it is known who may.
    assert!(refused(a.connect(b.ip, 8080).await).await);
    let waiting = a.connect(b.ip, 8080).await;
    mesh.control
        .policy(policy("chosen", Scope::WorkloadSelector, Action::Allow, A));
    assert_eq!(greeting(&mut waiting.unwrap()).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_pod_is_not_judged_by_the_policies_of_one_before_of_its_name() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let outsider = mesh.outsider("outsider");
    let app = b.echo(8080).await;
    // What the control plane tells of is the pod before it, at another address, which all may reach.
    mesh.control.announce(&b, |workload| {
        workload.addresses = vec![vec![10, 77, 0, 250].into()];
    });
    mesh.told(|dump| dump["workloads"].to_string().contains("10.77.0.250"))
        .await;
    assert!(refused(outsider.connect(b.ip, 8080).await).await);
    assert!(app.peers().is_empty());
    mesh.control.announce(&b, |_| {});
    let mut stream = outsider.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_denies_nobody_and_says_whom_it_would() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    let mut trial = policy("trial", Scope::Global, Action::Deny, A);
    trial.dry_run = true;
    mesh.control.policy(trial);
    knows(&mesh, "trial").await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    eventually("the report", || {
        mesh.proxy
            .log()
            .contains("a dry-run policy would deny")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_resource_is_refused_by_name_and_a_denial_goes_on() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let _app = b.echo(8080).await;
    mesh.control
        .policy(policy("not-a", Scope::Global, Action::Deny, A));
    knows(&mesh, "not-a").await;
    mesh.control
        .tell(AUTHORIZATION_TYPE, "shop/not-a", Some(vec![0xff; 8]));
    mesh.control
        .tell(ADDRESS_TYPE, "nonsense", Some(vec![0xff; 8]));
    let refusal = |kind: &str| {
        let heard = mesh.control.heard();
        heard
            .into_iter()
            .find(|r| r.type_url == kind && r.error_detail.is_some())
    };
    for (kind, name) in [
        (AUTHORIZATION_TYPE, "shop/not-a"),
        (ADDRESS_TYPE, "nonsense"),
    ] {
        let nack = eventually("the refusal", || refusal(kind)).await;
        assert!(nack.error_detail.unwrap().message.starts_with(name));
        assert!(!nack.response_nonce.is_empty());
    }
    assert!(
        refused(a.connect(b.ip, 8080).await).await,
        "the denial was lost"
    );
}
