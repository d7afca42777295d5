//! Open connections in plaintext, from a pod or to it. A peer may join the mesh while one is open:
//! it would be tunnelled if it were made now, and counts as older than the enrolment.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::{Broken, Traffic};

/// One pod's open connections in plaintext.
#[derive(Default)]
pub struct Plaintext {
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Entry>,
}

struct Entry {
    peer: SocketAddr,
    traffic: Traffic,
    /// Bytes moved, and since when it has been no more than that.
    seen: (u64, Instant),
    end: oneshot::Sender<Broken>,
}

/// One open connection; dropped, it is no longer counted.
pub struct Watched {
    open: Arc<Mutex<Open>>,
    id: u64,
    ended: oneshot::Receiver<Broken>,
}

impl Plaintext {
    /// Watches a connection with `peer`.
    pub fn watch(&self, peer: SocketAddr, traffic: &Traffic) -> Watched {
        let (end, ended) = oneshot::channel();
        let entry = Entry {
            peer,
            seen: (traffic.bytes(), Instant::now()),
            traffic: traffic.clone(),
            end,
        };
        let mut open = lock(&self.open);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, entry);
        Watched {
            open: self.open.clone(),
            id,
            ended,
        }
    }

    /// How many have a peer that is in the mesh now.
    pub fn older(&self, in_mesh: impl Fn(SocketAddr) -> bool) -> usize {
        let (mut open, now) = (lock(&self.open), Instant::now());
        let older = open
            .connections
            .values_mut()
            .filter(|entry| in_mesh(entry.peer));
        older.map(|entry| entry.quiet_for(now)).count()
    }

    /// Ends those that have a peer in the mesh now and in which nothing has moved for `quiet`; by
    /// force all of them, where that is none. Answers how many.
    pub fn end(&self, quiet: Option<Duration>, in_mesh: impl Fn(SocketAddr) -> bool) -> usize {
        let (mut open, now) = (lock(&self.open), Instant::now());
        let due: Vec<_> = open
            .connections
            .extract_if(|_, entry| {
                let quiet_for = in_mesh(entry.peer).then(|| entry.quiet_for(now));
                quiet_for.is_some_and(|quiet_for| quiet.is_none_or(|least| quiet_for >= least))
            })
            .collect();
        let ended = due.into_iter().filter_map(|(_, entry)| {
            let reason = if quiet.is_some() {
                Broken::Ended
            } else {
                Broken::Forced
            };
            // Where nobody listens any more it has ended by itself.
            entry.end.send(reason).ok()
        });
        ended.count()
    }
}

impl Entry {
    /// For how long nothing has moved, as far as looking now and then shows: never too long.
    fn quiet_for(&mut self, now: Instant) -> Duration {
        let moved = self.traffic.bytes();
        if moved != self.seen.0 || self.traffic.in_hand() {
            self.seen = (moved, now);
        }
        now - self.seen.1
    }
}

impl Watched {
    /// Resolves when the connection is to end, and says why.
    pub async fn ended(&mut self) -> Broken {
        match (&mut self.ended).await {
            Ok(reason) => reason,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.id);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "plaintext_test.rs"]
mod tests;
