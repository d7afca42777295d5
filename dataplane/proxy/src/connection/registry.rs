//! The connections of one pod: with whom they are, what policy was asked about them, what moves on
//! them, and how to end them. A connection is here from before policy is asked about it until it is
//! closed, whether its pod is served or has been let go.
//!
//! A peer may join the mesh while a connection with it is carried in plaintext: it would be tunnelled
//! if it were made now, and is called an existing connection.
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Broken, Traffic};
use crate::lock::lock;
use crate::policy;
use crate::state::{Snapshot, Workload};

/// The connections of one pod.
#[derive(Default)]
pub struct Registry {
    /// What serves connections and tunnels, a task each.
    tasks: TaskTracker,
    /// No new streams on open tunnels; what is open goes on.
    closing: CancellationToken,
    cut_off: CancellationToken,
    open: Arc<Mutex<Open>>,
    reviewed: Mutex<Option<Basis>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Entry>,
}

struct Entry {
    question: Option<Question>,
    plaintext: Option<Plaintext>,
    /// None once it has been told to end.
    end: Option<oneshot::Sender<Broken>>,
}

/// What is known of a connection that is carried in plaintext.
struct Plaintext {
    peer: SocketAddr,
    traffic: Traffic,
    /// Bytes moved, and since when it has been no more than that.
    seen: (u64, Instant),
}

/// What policy is asked about a connection to the pod.
#[derive(Clone)]
pub struct Question {
    /// The pod's address.
    pub own: IpAddr,
    pub connection: policy::Connection,
}

/// What a review went by: until one of both changes, another would say the same.
pub struct Basis {
    decision_changes: u64,
    /// Held, so that no other workload can be taken for it.
    workload: Option<Arc<Workload>>,
}

/// A connection's place in the registry, until dropped.
pub struct Registered {
    open: Arc<Mutex<Open>>,
    id: u64,
    ended: oneshot::Receiver<Broken>,
}

impl Registry {
    /// Serves a connection in a task of its own, until it ends or is cut off.
    pub fn spawn(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let cut_off = self.cut_off.clone();
        self.tasks.spawn(async move {
            // None when it was cut off, and the future's drop closed it.
            let _cut_off = cut_off.run_until_cancelled(serve).await;
        });
    }

    /// Resolves when the pod is leaving.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// How many are being served, tunnels too.
    pub fn served(&self) -> usize {
        self.tasks.len()
    }

    /// Lets open connections finish for as long as `limit`, then ends what is left.
    /// Answers how many that were.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.closing.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(limit, self.tasks.wait()).await;
        let left = if finished.is_ok() {
            0
        } else {
            self.tasks.len()
        };
        self.cut_off.cancel();
        self.tasks.wait().await;
        left
    }

    /// Registers a connection, and what policy is asked about it, if it is.
    pub fn register(&self, question: Option<Question>) -> Registered {
        let (end, ended) = oneshot::channel();
        let entry = Entry {
            question,
            plaintext: None,
            end: Some(end),
        };
        let mut open = lock(&self.open);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, entry);
        Registered {
            open: self.open.clone(),
            id,
            ended,
        }
    }

    /// Ends those that are denied now, unless that was asked already of the same `basis`.
    pub fn review(&self, basis: Basis, is_denied: impl Fn(&Question) -> bool) {
        let questions = self.questions();
        if questions.is_empty() || !self.is_due(basis) {
            return;
        }
        let denied = questions.iter().filter(|(_, question)| is_denied(question));
        for (id, _) in denied {
            let mut open = lock(&self.open);
            // None where it has ended meanwhile.
            let _told = open
                .connections
                .get_mut(id)
                .and_then(|entry| entry.end(Broken::Denied));
        }
    }

    /// What was asked about those that are not told to end yet.
    fn questions(&self) -> Vec<(u64, Question)> {
        let open = lock(&self.open);
        let going_on = open.connections.iter().filter(|(_, one)| one.end.is_some());
        going_on
            .filter_map(|(id, one)| Some((*id, one.question.clone()?)))
            .collect()
    }

    fn is_due(&self, basis: Basis) -> bool {
        let mut reviewed = lock(&self.reviewed);
        let is_due = reviewed.as_ref().is_none_or(|before| !before.is(&basis));
        *reviewed = Some(basis);
        is_due
    }

    /// How many are carried in plaintext with a peer that is in the mesh now.
    pub fn existing(&self, in_mesh: impl Fn(SocketAddr) -> bool) -> usize {
        let (mut open, now) = (lock(&self.open), Instant::now());
        open.existing(in_mesh, now).count()
    }

    /// Ends those of them in which nothing has moved for `quiet`; by force all of them, where that
    /// is none. Answers how many.
    pub fn end_existing(
        &self,
        quiet: Option<Duration>,
        in_mesh: impl Fn(SocketAddr) -> bool,
    ) -> usize {
        let (mut open, now) = (lock(&self.open), Instant::now());
        let existing = open.existing(in_mesh, now);
        let ended = existing.filter_map(|(entry, quiet_for)| match quiet {
            Some(least) if quiet_for >= least => entry.end(Broken::Ended),
            Some(_) => None,
            None => entry.end(Broken::Forced),
        });
        ended.count()
    }
}

impl Open {
    /// Connections in plaintext with peers in the mesh, and for how long nothing has moved on each:
    /// each look is what the next one goes by.
    fn existing(
        &mut self,
        in_mesh: impl Fn(SocketAddr) -> bool,
        now: Instant,
    ) -> impl Iterator<Item = (&mut Entry, Duration)> {
        let open = self.connections.values_mut();
        open.filter_map(move |entry| {
            let plaintext = entry.plaintext.as_mut()?;
            let is_existing = entry.end.is_some() && in_mesh(plaintext.peer);
            let quiet_for = is_existing.then(|| plaintext.quiet_for(now))?;
            Some((entry, quiet_for))
        })
    }
}

impl Plaintext {
    /// For how long nothing has moved, as far as looking now and then shows: never too long.
    fn quiet_for(&mut self, now: Instant) -> Duration {
        let moved = self.traffic.bytes();
        if moved != self.seen.0 || self.traffic.in_hand() {
            self.seen = (moved, now);
        }
        now - self.seen.1
    }
}

impl Entry {
    /// Tells it to end; none where it has been told before, or has ended by itself.
    fn end(&mut self, reason: Broken) -> Option<()> {
        self.end.take()?.send(reason).ok()
    }
}

impl Basis {
    pub fn new(mesh: &Snapshot, workload_uid: &str) -> Self {
        Self {
            decision_changes: mesh.decision_changes(),
            workload: mesh.workload(workload_uid).cloned(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.decision_changes == other.decision_changes
            && self.workload.as_ref().map(Arc::as_ptr) == other.workload.as_ref().map(Arc::as_ptr)
    }
}

impl Registered {
    /// Notes that it is carried in plaintext from now on, and with whom.
    pub fn in_plaintext(&self, peer: SocketAddr, traffic: &Traffic) {
        if let Some(entry) = lock(&self.open).connections.get_mut(&self.id) {
            entry.plaintext = Some(Plaintext {
                peer,
                traffic: traffic.clone(),
                seen: (traffic.bytes(), Instant::now()),
            });
        }
    }

    /// Resolves when it is to end, and says why.
    pub async fn ended(&mut self) -> Broken {
        match (&mut self.ended).await {
            Ok(reason) => reason,
            // It was told before, or its registry has gone: nobody will tell it any more.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.id);
    }
}

#[cfg(test)]
#[path = "registry_test.rs"]
mod tests;
