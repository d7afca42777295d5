//! Connections that are open, asked again when policy changes.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::authorize::policies;
use crate::lock::lock;
use crate::pod::{Pod, PodManager};
use crate::policy::{Connection, Verdict, evaluate};
use crate::shared::Shared;

/// Changes come in bursts; open connections are asked once a burst.
const SETTLE: Duration = Duration::from_millis(200);

/// The accepted connections of one pod.
#[derive(Default)]
pub struct Live {
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, (IpAddr, Connection, CancellationToken)>,
}

/// One open connection; dropped, it is no longer asked about.
pub struct Watched {
    open: Arc<Mutex<Open>>,
    id: u64,
    denied: CancellationToken,
}

impl Live {
    /// Watches a connection to the pod's address `own`.
    pub fn watch(&self, own: IpAddr, connection: Connection) -> Watched {
        let denied = CancellationToken::new();
        let mut open = lock(&self.open);
        let id = open.next;
        open.next += 1;
        open.connections
            .insert(id, (own, connection, denied.clone()));
        Watched {
            open: self.open.clone(),
            id,
            denied,
        }
    }

    /// Ends what is denied now. What cannot be decided now stays: it was allowed once.
    fn review(&self, pod: &Pod) {
        let open: Vec<_> = lock(&self.open).connections.values().cloned().collect();
        for (own, connection, denied) in open {
            let Ok((_, policies)) = policies(pod, own) else {
                continue;
            };
            let decision = evaluate(&policies, &connection);
            if decision.verdict == Verdict::Deny {
                pod.shared.metrics.denied(decision.policy.as_deref());
                denied.cancel();
            }
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.open).connections.is_empty()
    }
}

impl Watched {
    /// Resolves when a policy has come that denies the connection.
    pub async fn denied(&self) {
        self.denied.cancelled().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.id);
    }
}

/// Reviews open connections whenever the mesh changes, for ever.
pub async fn watch_policies(shared: Arc<Shared>, pods: Arc<PodManager>) {
    let mut changes = shared.state.policy_changes();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        changes.mark_unchanged();
        for pod in pods.pods().iter().filter(|pod| !pod.live.is_empty()) {
            pod.live.review(pod);
        }
    }
}
