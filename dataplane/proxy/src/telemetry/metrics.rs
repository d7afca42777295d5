//! Metrics: the standard layer 4 names, and our own under `tulle_proxy_`.
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tulle_log_writer::DroppedLines;

use super::policies::ByPolicy;
use super::traffic::Traffic;
use crate::lock::lock;
use crate::state::Snapshot;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IdentityLabel {
    identity: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// All metrics of the process.
#[derive(Default)]
pub struct Metrics {
    registry: Mutex<Registry>,
    pub traffic: Traffic,
    pub xds_connected: Gauge,
    pub xds_refused: Counter,
    resources: Family<TypeLabel, Gauge>,
    fetched: Family<ResultLabel, Counter>,
    expiry: Family<IdentityLabel, Gauge<f64, AtomicU64>>,
    denied: ByPolicy,
    would_deny: ByPolicy,
    pub pods: Gauge,
    pub pods_failed: Gauge,
    pub tunnels_opened: Counter,
    pub handshakes_failed: Counter,
}

impl Metrics {
    /// Makes and registers all metrics.
    pub fn new() -> Self {
        let metrics = Self::default();
        let mut registry = Registry::default();
        let r = &mut registry;
        r.register_collector(Box::new(metrics.traffic.clone()));

        let ours = r.sub_registry_with_prefix("tulle_proxy");
        ours.register(
            "xds_connected",
            "Whether the xDS stream is open",
            metrics.xds_connected.clone(),
        );
        ours.register(
            "xds_refused",
            "xDS answers with resources that were refused",
            metrics.xds_refused.clone(),
        );
        ours.register(
            "xds_resources",
            "xDS resources held, by type",
            metrics.resources.clone(),
        );
        ours.register(
            "certificate_fetches",
            "Certificates asked for, by result",
            metrics.fetched.clone(),
        );
        ours.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, by identity",
            metrics.expiry.clone(),
        );
        ours.register(
            "policy_denied",
            "Connections refused, by policy",
            metrics.denied.family(),
        );
        ours.register(
            "policy_dry_run_denied",
            "Connections a dry-run policy would have refused, by policy",
            metrics.would_deny.family(),
        );
        ours.register("pods", "Pods served", metrics.pods.clone());
        ours.register(
            "pods_failed",
            "Pods that could not be served",
            metrics.pods_failed.clone(),
        );
        ours.register(
            "tunnels_opened",
            "HBONE connections opened to peers",
            metrics.tunnels_opened.clone(),
        );
        ours.register(
            "handshakes_failed",
            "Inbound tunnels refused before a request",
            metrics.handshakes_failed.clone(),
        );
        let build: Family<BuildLabel, Gauge> = Family::default();
        build
            .get_or_create(&BuildLabel {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        ours.register("build", "The version running, always 1", build);
        *lock(&metrics.registry) = registry;
        metrics
    }

    /// Tells of dropped log lines, too.
    pub fn dropped_lines(&self, dropped: &DroppedLines) {
        dropped.register(lock(&self.registry).sub_registry_with_prefix("tulle_proxy"));
    }

    pub fn certificate_fetched(&self, done: bool) {
        let result = if done { "success" } else { "failure" };
        self.fetched.get_or_create(&ResultLabel { result }).inc();
    }

    /// The certificates in use and their ends; others are forgotten.
    pub fn certificates(&self, in_use: impl IntoIterator<Item = (String, SystemTime)>) {
        self.expiry.clear();
        for (identity, not_after) in in_use {
            let end = not_after
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or(Duration::ZERO);
            self.expiry
                .get_or_create(&IdentityLabel { identity })
                .set(end.as_secs_f64());
        }
    }

    pub fn xds_resources(&self, type_url: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.resources
            .get_or_create(&TypeLabel { r#type: type_url })
            .set(count);
    }

    pub fn denied(&self, policy: Option<&str>) {
        self.denied.count(policy);
    }

    pub fn would_deny(&self, policy: Option<&str>) {
        self.would_deny.count(policy);
    }

    /// Drops the series of pods, peers, services and policies that are gone.
    pub fn forget_gone(&self, mesh: &Snapshot) {
        self.traffic.forget_gone(mesh);
        self.denied.forget_gone(mesh);
        self.would_deny.forget_gone(mesh);
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &lock(&self.registry))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessLog;
    use crate::connection::Record;
    use crate::telemetry::facts::Facts;
    use crate::telemetry::labels::Reporter;

    #[test]
    fn names_are_those_dashboards_know() {
        let metrics = Metrics::new();
        let facts = Facts::unknown(Reporter::Source);
        let record = Record::open(&metrics, AccessLog::Off, facts);
        record.traffic.response.total.inc_by(5);
        let text = metrics.encode().unwrap();
        assert!(text.contains(
            "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"unknown\""
        ));
        assert!(text.contains("connection_security_policy=\"unknown\"} 1"));
        assert!(text.contains("istio_tcp_sent_bytes_total{"));
        assert!(text.contains("# TYPE istio_tcp_received_bytes counter"));
        assert!(text.contains("tulle_proxy_xds_connected 0"));
        assert!(text.ends_with("# EOF\n"));
    }
}
