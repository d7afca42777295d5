//! Accepted connections that are open, with what policy was asked about them.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::lock::lock;
use crate::policy::Connection;
use crate::state::{Snapshot, Workload};

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
    fn new(mesh: &Snapshot, workload_uid: &str) -> Self {
        Self {
            verdict_changes: mesh.verdict_changes(),
            workload: mesh.workload(workload_uid).cloned(),
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
    connections: HashMap<u64, Asked>,
}

/// The pod's address, what was asked, and how to say that it is denied now.
pub type Asked = (IpAddr, Connection, CancellationToken);

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

    /// Those to ask about again, unless all that it takes to answer is as it was the last time.
    pub fn to_review(&self, mesh: &Snapshot, workload_uid: &str) -> Vec<Asked> {
        let open: Vec<_> = lock(&self.open).connections.values().cloned().collect();
        if open.is_empty() {
            return open;
        }
        let basis = Basis::new(mesh, workload_uid);
        let mut reviewed = lock(&self.reviewed);
        if reviewed.as_ref().is_some_and(|before| before.is(&basis)) {
            return vec![];
        }
        *reviewed = Some(basis);
        open
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
