//! Connections that are open, asked again when policy changes.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::authorize::denied_now;
use crate::lock::lock;
use crate::pod::{Pod, PodManager};
use crate::policy::Connection;
use crate::shared::Shared;
use crate::state::Workload;

/// Changes come in bursts; open connections are asked once a burst.
const SETTLE: Duration = Duration::from_millis(200);

/// The accepted connections of one pod.
#[derive(Default)]
pub struct Live {
    open: Arc<Mutex<Open>>,
    reviewed: Mutex<Option<Basis>>,
}

/// What a review went by: until one of both changes, another would say the same.
struct Basis {
    verdict_changes: u64,
    /// Held, so that no other workload can be taken for it.
    workload: Option<Arc<Workload>>,
}

impl Basis {
    fn now(pod: &Pod) -> Self {
        let mesh = pod.shared.state.read();
        Self {
            verdict_changes: mesh.verdict_changes(),
            workload: mesh.workload(&pod.workload_uid).cloned(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.verdict_changes == other.verdict_changes
            && self.workload.as_ref().map(Arc::as_ptr) == other.workload.as_ref().map(Arc::as_ptr)
    }
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

    /// Ends what is denied now, unless that was asked already.
    fn review(&self, pod: &Pod) {
        let basis = Basis::now(pod);
        {
            let mut reviewed = lock(&self.reviewed);
            if reviewed.as_ref().is_some_and(|before| before.is(&basis)) {
                return;
            }
            *reviewed = Some(basis);
        }
        let open: Vec<_> = lock(&self.open).connections.values().cloned().collect();
        for (own, connection, denied) in open {
            if denied_now(pod, own, &connection) {
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
    let mut changes = shared.state.changes();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        changes.mark_unchanged();
        for pod in pods.pods().iter().filter(|pod| !pod.live.is_empty()) {
            pod.live.review(pod);
        }
    }
}
