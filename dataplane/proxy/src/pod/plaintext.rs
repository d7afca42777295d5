//! Open connections in plaintext, from a pod or to it. A peer may join the mesh while one is open:
//! it would be tunnelled if it were made now, and counts as older than the enrolment.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::inpod::socket;
use crate::relay::{self, Meter, Sink, pump};

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("both ends are in the mesh by now; ended in a quiet moment")]
    Ended,
    #[error("both ends are in the mesh by now; ended by force")]
    Forced,
    #[error("a policy that came later denies it")]
    Denied,
}

impl Broken {
    /// Whether the sides are to hear of a failure, and not of an end.
    pub fn resets(&self) -> bool {
        !matches!(self, Self::Ended)
    }
}

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

/// What moves on a connection, both ways together.
#[derive(Clone, Default)]
struct Traffic {
    moved: [Counter; 2],
    /// Directions in which something read is not yet written.
    in_hand: Arc<AtomicUsize>,
}

/// One open connection; dropped, it is no longer counted.
pub struct Watched {
    open: Arc<Mutex<Open>>,
    id: u64,
    traffic: Traffic,
    ended: oneshot::Receiver<Broken>,
}

impl Plaintext {
    /// Watches a connection with `peer`, whose bytes the meters count.
    pub fn watch(&self, peer: SocketAddr, request: &Meter, response: &Meter) -> Watched {
        let traffic = Traffic {
            moved: [request.connection.clone(), response.connection.clone()],
            in_hand: Arc::default(),
        };
        let (end, ended) = oneshot::channel();
        let entry = Entry {
            peer,
            seen: (traffic.total(), Instant::now()),
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
            traffic,
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
        let moved = self.traffic.total();
        if moved != self.seen.0 || self.traffic.in_hand.load(Ordering::Acquire) > 0 {
            self.seen = (moved, now);
        }
        now - self.seen.1
    }
}

impl Traffic {
    fn total(&self) -> u64 {
        self.moved.iter().map(Counter::get).sum()
    }
}

impl Watched {
    /// Moves bytes between both sides until they end, or the connection is ended.
    ///
    /// # Errors
    /// As either side fails, or why it was ended.
    pub async fn carry(
        mut self,
        client: &mut TcpStream,
        far: &mut TcpStream,
        request: &Meter,
        response: &Meter,
    ) -> Result<(), Broken> {
        let outcome = {
            let ((mut source, sink), (mut far_source, far_sink)) =
                (relay::split(client), relay::split(far));
            let (mut sink, mut far_sink) = (self.noted(sink), self.noted(far_sink));
            let moving = async {
                tokio::try_join!(
                    pump(&mut source, &mut far_sink, request),
                    pump(&mut far_source, &mut sink, response),
                )
            };
            tokio::select! {
                moved = moving => moved.map(|_| ()).map_err(Broken::from),
                Ok(reason) = &mut self.ended => Err(reason),
            }
        };
        match &outcome {
            Ok(()) => {}
            Err(broken) if broken.resets() => socket::reset_on_close(far),
            Err(_) => drop(tokio::join!(relay::end(client), relay::end(far))),
        }
        outcome
    }

    fn noted<S>(&self, sink: S) -> Noted<S> {
        Noted {
            sink,
            in_hand: self.traffic.in_hand.clone(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.id);
    }
}

/// A sink that tells while it has a piece in hand.
struct Noted<S> {
    sink: S,
    in_hand: Arc<AtomicUsize>,
}

impl<S: Sink> Sink for Noted<S> {
    async fn send(&mut self, piece: Bytes) -> io::Result<()> {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
        let sent = self.sink.send(piece).await;
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
        sent
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.sink.finish().await
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "plaintext_test.rs"]
mod tests;
