//! The record of one connection: its metrics while it lasts, its access-log line at the end.
use std::sync::Arc;
use std::time::Instant;

use super::{Meter, Traffic};
use crate::config::AccessLog;
use crate::logging::ACCESS;

use crate::spiffe::SpiffeId;
use crate::state::Workload;
use crate::telemetry::Counted;
use crate::telemetry::facts::Facts;
use crate::telemetry::labels::Reporter;
use crate::telemetry::metrics::Metrics;

/// Counts an open connection; dropping it without an outcome logs it as cut off.
pub struct Record {
    facts: Facts,
    log: AccessLog,
    started: Instant,
    /// Keeps the connection counted as open.
    _counted: Counted,
    pub traffic: Traffic,
    outcome: Option<Result<(), String>>,
}

impl Record {
    pub fn open(metrics: &Metrics, log: AccessLog, facts: Facts) -> Self {
        let counted = metrics.traffic.open(&facts);
        Self {
            traffic: Traffic {
                request: Meter::with_total(counted.received()),
                response: Meter::with_total(counted.sent()),
            },
            _counted: counted,
            facts,
            log,
            started: Instant::now(),
            outcome: None,
        }
    }

    /// Ends the record.
    pub fn close(mut self, outcome: Result<(), String>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self
            .outcome
            .take()
            .unwrap_or_else(|| Err("cut off".to_owned()));
        let bytes = (
            self.traffic.request.connection.get(),
            self.traffic.response.connection.get(),
        );
        write_line(
            self.log,
            &self.facts,
            bytes,
            self.started.elapsed().as_millis(),
            outcome,
        );
    }
}

/// The line of a connection that was refused before it was opened.
pub fn refused(log: AccessLog, facts: &Facts, reason: String) {
    write_line(log, facts, (0, 0), 0, Err(reason));
}

fn write_line(
    log: AccessLog,
    facts: &Facts,
    bytes: (u64, u64),
    milliseconds: u128,
    outcome: Result<(), String>,
) {
    let wanted = match log {
        AccessLog::All => true,
        AccessLog::Errors => outcome.is_err(),
        AccessLog::Off => false,
    };
    if !wanted {
        return;
    }
    let pod = |workload: &Option<Arc<Workload>>| {
        workload
            .as_ref()
            .map(|w| format!("{}/{}", w.namespace, w.name))
    };
    let text = |id: &Option<SpiffeId>| id.as_ref().map(ToString::to_string);
    tracing::info!(
        target: ACCESS,
        direction = match facts.reporter { Reporter::Source => "outbound", Reporter::Destination => "inbound" },
        protocol = if facts.hbone { "hbone" } else { "plaintext" },
        source = %facts.source,
        source_workload = pod(&facts.source_workload),
        source_node = facts.source_node.as_deref(),
        source_identity = text(&facts.source_identity),
        destination = %facts.destination,
        upstream = facts.upstream.map(tracing::field::display),
        destination_workload = pod(&facts.destination_workload),
        destination_node = facts.destination_node.as_deref(),
        destination_identity = text(&facts.destination_identity),
        destination_service = facts.service.as_ref().map(|service| service.id.hostname.as_str()),
        policy = facts.policy.as_deref(),
        trace = facts.trace.as_deref(),
        bytes_received = bytes.0,
        bytes_sent = bytes.1,
        duration_milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX),
        error = outcome.err(),
        "connection",
    );
}
