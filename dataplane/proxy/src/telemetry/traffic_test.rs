use tulle_wire::workload as wire;

use super::*;
use crate::config::AccessLog;
use crate::connection::Record;
use crate::policy::{Action, Policy, Scope};
use crate::state::{Change, MeshState};
use crate::telemetry::labels::Reporter;
use crate::telemetry::metrics::Metrics;

fn workload(uid: &str, owner: &str) -> Arc<Workload> {
    let told = wire::Workload {
        uid: uid.into(),
        namespace: "shop".into(),
        service_account: owner.into(),
        workload_name: owner.into(),
        canonical_name: owner.into(),
        ..Default::default()
    };
    Arc::new(Workload::parse(told).unwrap())
}

fn service() -> Arc<Service> {
    let told = wire::Service {
        name: "cart".into(),
        namespace: "shop".into(),
        hostname: "cart.shop.svc.cluster.local".into(),
        ..Default::default()
    };
    Arc::new(Service::parse(told).unwrap())
}

/// A mesh, the proxy's metrics, and a pod that everybody connects to.
struct Ground {
    state: MeshState,
    metrics: Metrics,
    server: Arc<Workload>,
    service: Arc<Service>,
}

impl Ground {
    fn new() -> Self {
        let fixture = Self {
            state: MeshState::default(),
            metrics: Metrics::new(),
            server: workload("server", "server"),
            service: service(),
        };
        fixture.comes(&fixture.server);
        let service = Change::Service(Box::new(fixture.service.as_ref().clone()));
        fixture.state.apply([service]);
        fixture
    }

    fn comes(&self, client: &Workload) {
        self.state
            .apply([Change::Workload(Box::new(client.clone()))]);
    }

    fn goes(&self, client: &Workload) {
        self.state.apply([Change::AddressGone(client.uid.clone())]);
    }

    fn connect(&self, client: &Arc<Workload>) -> Record {
        let facts = Facts {
            source_workload: Some(client.clone()),
            source_identity: Some(client.identity.clone()),
            destination_workload: Some(self.server.clone()),
            destination_identity: Some(self.server.identity.clone()),
            service: Some(self.service.clone()),
            ..Facts::unknown(Reporter::Destination)
        };
        Record::open(&self.metrics, AccessLog::Off, facts)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.metrics.forget_gone(&self.state.read());
    }

    /// The lines of a metric.
    fn series(&self, metric: &str) -> Vec<String> {
        let text = self.metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(metric));
        lines.map(str::to_owned).collect()
    }

    fn opened(&self) -> usize {
        self.series("istio_tcp_connections_opened_total{").len()
    }
}

#[tokio::test(start_paused = true)]
async fn r39_a_million_connections_of_ever_new_pods_leave_no_more_series_than_there_are_pods() {
    let fixture = Ground::new();
    let (mut most, mut last) = (0, None);
    for number in 0..1000 {
        let name = format!("job-{number}");
        let client = workload(&name, &name);
        fixture.comes(&client);
        for _ in 0..1000 {
            fixture.connect(&client).close(Ok(()));
        }
        if let Some(before) = last.replace(client) {
            fixture.goes(&before);
        }
        fixture.pass(Duration::from_secs(30)).await;
        most = most.max(fixture.metrics.traffic.read().len());
    }
    // A pod every 30 s, each kept for 300 s after it is gone.
    assert!(most <= 13, "{most}");
    assert_eq!(fixture.opened(), fixture.metrics.traffic.read().len());
}

#[tokio::test(start_paused = true)]
async fn r39_what_was_counted_last_is_scraped_before_it_is_dropped() {
    let fixture = Ground::new();
    let client = workload("a", "a");
    fixture.comes(&client);
    let record = fixture.connect(&client);
    fixture.goes(&client);
    fixture.pass(KEPT * 2).await;
    assert_eq!(fixture.opened(), 1, "its connection is open");
    record.traffic.response.total.inc_by(7);
    record.close(Ok(()));
    fixture.pass(KEPT - Duration::from_secs(1)).await;
    let sent = fixture.series("istio_tcp_sent_bytes_total{");
    assert!(sent[0].ends_with("} 7"), "{sent:?}");
    let closed = fixture.series("istio_tcp_connections_closed_total{");
    assert!(closed[0].ends_with("} 1"), "{closed:?}");
    fixture.pass(Duration::from_secs(1)).await;
    assert_eq!(fixture.opened(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_pod_that_is_there_goes_on_however_long_it_is_idle() {
    let fixture = Ground::new();
    let client = workload("a", "a");
    fixture.comes(&client);
    fixture.connect(&client).close(Ok(()));
    fixture.pass(KEPT * 100).await;
    fixture.connect(&client).close(Ok(()));
    let opened = fixture.series("istio_tcp_connections_opened_total{");
    assert!(
        opened.len() == 1 && opened[0].ends_with("} 2"),
        "{opened:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn r39_a_pod_that_changes_its_labels_has_one_series_in_the_end() {
    let fixture = Ground::new();
    for number in 0..50 {
        let client = workload("a", &format!("name-{number}"));
        fixture.comes(&client);
        fixture.connect(&client).close(Ok(()));
    }
    assert_eq!(fixture.opened(), 50);
    fixture.pass(KEPT).await;
    assert_eq!(fixture.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn r39_beyond_the_most_series_connections_are_counted_without_names() {
    let fixture = Ground::new();
    for number in 0..MOST + 500 {
        let name = format!("job-{number}");
        fixture.connect(&workload(&name, &name)).close(Ok(()));
    }
    assert_eq!(fixture.metrics.traffic.read().len(), MOST + 1);
    let opened = fixture.series("istio_tcp_connections_opened_total{");
    let of_anybody = opened
        .iter()
        .find(|line| line.contains("source_workload=\"unknown\""));
    assert!(of_anybody.unwrap().ends_with("} 500"), "{of_anybody:?}");
}

#[tokio::test(start_paused = true)]
async fn r39_counters_of_policies_that_are_gone_are_dropped() {
    let fixture = Ground::new();
    let there = Policy {
        name: "shop/there".into(),
        namespace: "shop".into(),
        scope: Scope::Namespace,
        action: Action::Deny,
        dry_run: false,
        rules: vec![],
        unreadable: None,
    };
    fixture.state.apply([Change::Policy(Box::new(there))]);
    for policy in [Some("shop/there"), Some("shop/gone"), None] {
        fixture.metrics.denied(policy);
        fixture.metrics.would_deny(policy);
    }
    fixture.pass(KEPT - Duration::from_secs(1)).await;
    assert_eq!(fixture.series("tulle_proxy_policy_denied_total").len(), 3);
    fixture.pass(Duration::from_secs(1)).await;
    for metric in ["policy_denied", "policy_dry_run_denied"] {
        let left = fixture.series(&format!("tulle_proxy_{metric}_total"));
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|line| !line.contains("gone")));
    }
}
