//! The status the agent polls, readiness, and metrics.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tulle_http_server::Answer;
use tulle_proxy_status::{
    END_EXISTING_PATH, EndExistingConnections, Ended, NotReady, STATUS_PATH, Status, Workload,
    WorkloadState,
};

use super::dump::{ConfigDump, timestamp};
use crate::lock::lock;
use crate::rotation::Acknowledged;
use crate::serve::{PodManager, Served};
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
pub type Readiness = Result<(), NotReady>;

impl Overview {
    /// Whether this proxy really serves: it knows the mesh, knows its pods, serves them all, and is not leaving.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            return Err(NotReady::Draining);
        }
        if !self.shared.synced.borrow().both() {
            return Err(NotReady::WaitsForControl);
        }
        if !self.pods.ready() {
            return Err(NotReady::WaitsForPods);
        }
        Ok(())
    }

    /// The unix socket: what the agent asks and orders.
    pub async fn to_agent(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::POST, END_EXISTING_PATH) => match tulle_http_server::body(request).await {
                Ok(order) => self.end_existing(&order),
                Err(answer) => answer,
            },
            _ => Answer::to_get(&request, |path| {
                (path == STATUS_PATH).then(|| Answer::json(&self.status()))
            }),
        }
    }

    /// Ends connections in plaintext with peers that are in the mesh by now.
    fn end_existing(&self, order: &[u8]) -> Answer {
        match serde_json::from_slice::<EndExistingConnections>(order) {
            Ok(order) => Answer::json(&Ended {
                ended: self
                    .pods
                    .end_existing_connections(&order.uid, order.quiet()),
            }),
            Err(err) => Answer::text(StatusCode::BAD_REQUEST, format!("{err}\n")),
        }
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
            Err(reason) => tracing::info!(%reason, "not ready"),
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

    /// Port 15014, for whom a NetworkPolicy lets reach it.
    pub fn plaintext_metrics_page(&self, path: &str) -> Option<Answer> {
        (path == "/metrics").then(|| Answer::metrics(self.metrics()))
    }

    /// Port 15000, on loopback.
    pub fn admin_page(&self, path: &str) -> Option<Answer> {
        match path {
            "/config_dump" => Some(Answer::json(&ConfigDump::new(&self.shared, &self.pods))),
            STATUS_PATH => Some(Answer::json(&self.status())),
            "/metrics" => Some(Answer::metrics(self.metrics())),
            _ => None,
        }
    }

    fn status(&self) -> Status {
        let ready = self.ready();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: ready.is_ok(),
            not_ready: ready.err(),
            draining: self.draining.load(Ordering::Acquire),
            trust_bundle_sha256: self.acknowledged.sha256().map(|sha256| sha256.to_string()),
            workloads: self.pods.served().into_iter().map(workload).collect(),
        }
    }
}

fn workload(pod: Served) -> Workload {
    Workload {
        uid: pod.uid,
        identity: pod.identity.to_string(),
        certificate_not_after: pod.certificate_not_after.map(timestamp),
        state: WorkloadState {
            announced: pod.mesh_state.announced,
            enrolling: Some(pod.mesh_state.enrolling),
            existing_connections: pod.mesh_state.existing_connections,
            draining: pod.draining,
        },
    }
}
