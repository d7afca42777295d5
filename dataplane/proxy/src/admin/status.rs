//! The status the agent polls, readiness, and metrics.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::dump::{ConfigDump, timestamp};
use super::http::Answer;
use crate::lock::lock;
use crate::rotation::Acknowledged;
use crate::serve::PodManager;
use crate::shared::Shared;

/// Everything the pages are made from.
#[derive(Clone)]
pub struct Overview {
    pub shared: Arc<Shared>,
    pub pods: Arc<PodManager>,
    pub acknowledged: Arc<Acknowledged>,
    /// Set on SIGTERM.
    pub draining: Arc<AtomicBool>,
    /// What was told of readiness last, so that the log has each change once.
    pub told: Arc<Mutex<Option<Readiness>>>,
}

/// Ready, or what is missing.
pub type Readiness = Result<(), &'static str>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: &'static str,
    ready: bool,
    /// What is missing.
    not_ready: Option<&'static str>,
    /// It has been told to stop, and serves until its connections have ended.
    draining: bool,
    trust_bundle_sha256: Option<String>,
    workloads: Vec<WorkloadStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadStatus {
    uid: String,
    identity: String,
    certificate_not_after: Option<String>,
    /// The control plane tells everybody to reach it by mutual TLS.
    announced: bool,
    /// The control plane tells everybody that it is being enrolled.
    enrolling: bool,
    /// Connections in plaintext with peers that are in the mesh by now.
    older_connections: usize,
    /// This proxy serves it no longer and finishes what is open; counted until the last is closed.
    draining: bool,
}

/// Which connections to end: a pod's, where nothing has moved for so long; by force without it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndOlder {
    uid: String,
    quiet_milliseconds: Option<u64>,
}

#[derive(Serialize)]
struct Ended {
    ended: usize,
}

impl Overview {
    /// Whether this proxy really serves: it knows the mesh, knows its pods, serves them all, and is not leaving.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            return Err("draining");
        }
        if !self.shared.synced.borrow().both() {
            return Err("waiting for the control plane's xDS");
        }
        if !self.pods.ready() {
            return Err("waiting for the agent's pods to be served");
        }
        Ok(())
    }

    /// `GET /status`, on the unix socket.
    pub fn status_page(&self, path: &str) -> Option<Answer> {
        (path == "/status").then(|| Answer::json(&self.status()))
    }

    /// `POST /older/end`, on the unix socket: ends connections in plaintext with peers that are in
    /// the mesh by now.
    pub fn end_older(&self, path: &str, body: &[u8]) -> Option<Answer> {
        (path == "/older/end").then(|| match serde_json::from_slice::<EndOlder>(body) {
            Ok(EndOlder {
                uid,
                quiet_milliseconds,
            }) => {
                let quiet = quiet_milliseconds.map(Duration::from_millis);
                Answer::json(&Ended {
                    ended: self.pods.end_older_connections(&uid, quiet),
                })
            }
            Err(err) => Answer::text(StatusCode::BAD_REQUEST, &format!("{err}\n")),
        })
    }

    /// Port 15021: yes or no, to whoever asks. Why not is in the log and in the status.
    pub fn readiness_page(&self, path: &str) -> Option<Answer> {
        (path == "/healthz/ready").then(|| {
            let ready = self.ready();
            self.tell_change(ready);
            match ready {
                Ok(()) => Answer::text(StatusCode::OK, "ready\n"),
                Err(_) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            }
        })
    }

    fn tell_change(&self, ready: Readiness) {
        if lock(&self.told).replace(ready) == Some(ready) {
            return;
        }
        match ready {
            Ok(()) => tracing::info!("ready"),
            Err(reason) => tracing::info!(reason, "not ready"),
        }
    }

    /// Port 15020, in the OpenMetrics format.
    ///
    /// # Errors
    /// Why there are none.
    pub fn metrics(&self) -> Result<String, String> {
        let encoded = self.shared.metrics.encode();
        encoded.map_err(|err| err.to_string())
    }

    fn metrics_page(&self) -> Answer {
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        match self.metrics() {
            Ok(text) => Answer(StatusCode::OK, OPEN_METRICS, text),
            Err(err) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &err),
        }
    }

    /// Port 15014, for whom a NetworkPolicy lets reach it.
    pub fn plaintext_metrics_page(&self, path: &str) -> Option<Answer> {
        (path == "/metrics").then(|| self.metrics_page())
    }

    /// Port 15000, on loopback.
    pub fn admin_page(&self, path: &str) -> Option<Answer> {
        match path {
            "/config_dump" => Some(Answer::json(&ConfigDump::new(&self.shared, &self.pods))),
            "/status" => Some(Answer::json(&self.status())),
            "/metrics" => Some(self.metrics_page()),
            _ => None,
        }
    }

    fn status(&self) -> Status {
        let ready = self.ready();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: ready.is_ok(),
            not_ready: ready.err(),
            draining: self.draining.load(Ordering::Acquire),
            trust_bundle_sha256: self.acknowledged.sha256().map(|sha256| sha256.to_string()),
            workloads: self
                .pods
                .served()
                .into_iter()
                .map(|pod| WorkloadStatus {
                    uid: pod.uid,
                    identity: pod.identity.to_string(),
                    certificate_not_after: pod
                        .certificate_not_after
                        .map(|at: SystemTime| timestamp(at)),
                    announced: pod.standing.announced,
                    enrolling: pod.standing.enrolling,
                    older_connections: pod.standing.older_connections,
                    draining: pod.draining,
                })
                .collect(),
        }
    }
}
