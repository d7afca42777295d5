use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tulle_log_writer::DroppedLines;

use crate::report::MeshNodeStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The agent's own figures, `tulle_agent_*`.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    pods: Family<State, Gauge>,
    existing_connections: Gauge,
    proxies: Gauge,
    failures: Family<Reason, Counter>,
    enrolment: Histogram,
    ended_connections: Counter,
}

impl Metrics {
    pub fn new(dropped_lines: &DroppedLines) -> Self {
        let mut registry = Registry::with_prefix("tulle_agent");
        let pods = Family::default();
        let existing_connections = Gauge::default();
        let proxies = Gauge::default();
        let failures = Family::default();
        // From 10 ms to about 40 s.
        let enrolment = Histogram::new([
            0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0,
        ]);
        let ended_connections = Counter::default();
        registry.register(
            "pods",
            "Pods of this node that are or should be in the mesh, by state",
            pods.clone(),
        );
        registry.register(
            "existing_connections",
            "Open connections that existed before their pod was enrolled",
            existing_connections.clone(),
        );
        registry.register("proxies", "Proxies connected", proxies.clone());
        registry.register(
            "step_failures",
            "Steps of an enrolment that failed, by reason",
            failures.clone(),
        );
        registry.register_with_unit(
            "enrolment_duration",
            "From the pod's namespace being found to its announcement",
            Unit::Seconds,
            enrolment.clone(),
        );
        registry.register(
            "ended_connections",
            "Existing connections that were ended",
            ended_connections.clone(),
        );
        dropped_lines.register(&mut registry);
        Self {
            registry: Arc::new(registry),
            pods,
            existing_connections,
            proxies,
            failures,
            enrolment,
            ended_connections,
        }
    }

    pub fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&Reason { reason }).inc();
    }

    pub fn enrolled(&self, took: Duration) {
        self.enrolment.observe(took.as_secs_f64());
    }

    pub fn ended(&self, connections: usize) {
        self.ended_connections.inc_by(connections as u64);
    }

    /// The text Prometheus reads, with what the status says now.
    pub fn render(
        &self,
        status: &MeshNodeStatus,
        proxies: usize,
    ) -> Result<String, std::fmt::Error> {
        let counts = status.counts.unwrap_or_default();
        for (state, count) in [
            ("Secured", counts.secured),
            ("Pending", counts.pending),
            ("Failed", counts.failed),
        ] {
            self.pods.get_or_create(&State { state }).set(count as i64);
        }
        self.existing_connections.set(
            status
                .pods
                .iter()
                .map(|pod| pod.existing_connections as i64)
                .sum(),
        );
        self.proxies.set(proxies as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
