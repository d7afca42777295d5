use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tulle_wire::zds::WorkloadInfo;

use crate::netns::Netns;

/// A pod as the proxies get it.
#[derive(Clone, Debug)]
pub struct Handover {
    pub info: WorkloadInfo,
    pub namespace: Netns,
}

/// Whether a pod is served by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// A connected proxy has acknowledged it.
    Served,
    /// The newest proxy has not answered yet.
    Waiting,
    /// The newest proxy refused it, with these words.
    Refused(String),
    /// No proxy is connected.
    NoProxy,
}

/// Proxies in the order they connected.
pub(super) type ConnectionId = u64;

/// What to do next on a connection.
#[derive(Debug)]
pub(super) enum Action {
    Add {
        uid: String,
        handover: Handover,
        attempt: Attempt,
    },
    Del {
        uid: String,
    },
}

/// Which wish an acknowledgement answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Another for each namespace a pod is handed over with.
    generation: u64,
    retry: u64,
}

/// The pods that should be handed over, and what each connected proxy holds
/// of them. The newest proxy is to hold all; older ones keep what they have
/// and learn only of removals.
pub struct Proxies {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    generations: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    pods: BTreeMap<String, Pod>,
}

struct Pod {
    handover: Handover,
    attempt: Attempt,
}

struct Connection {
    pid: Option<i32>,
    holds: HashMap<String, Held>,
}

struct Held {
    attempt: Attempt,
    outcome: Result<(), String>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Proxies {
    /// Hands a pod over. The same pod in the same namespace again is a retry
    /// of what was refused, and nothing where it was not.
    pub fn add(&self, uid: &str, handover: Handover) {
        let mut state = self.lock();
        let retry = match state.pods.get_mut(uid) {
            Some(pod) if pod.handover.namespace == handover.namespace => {
                pod.attempt.retry += 1;
                true
            }
            _ => false,
        };
        if !retry {
            state.generations += 1;
            let attempt = Attempt {
                generation: state.generations,
                retry: 0,
            };
            state.pods.insert(uid.to_owned(), Pod { handover, attempt });
        }
        drop(state);
        self.notify();
    }

    /// Takes a pod back from every proxy.
    pub fn remove(&self, uid: &str) {
        self.lock().pods.remove(uid);
        self.notify();
    }

    /// Whether any proxy still holds the pod.
    pub fn is_held(&self, uid: &str) -> bool {
        self.lock()
            .connections
            .values()
            .any(|connection| connection.holds.contains_key(uid))
    }

    pub fn serving(&self, uid: &str) -> Serving {
        let state = self.lock();
        let Some(newest) = state.connections.values().next_back() else {
            return Serving::NoProxy;
        };
        let Some(pod) = state.pods.get(uid) else {
            return Serving::Waiting;
        };
        let serves = |connection: &Connection| {
            connection.holds.get(uid).is_some_and(|held| {
                held.attempt.generation == pod.attempt.generation && held.outcome.is_ok()
            })
        };
        if state.connections.values().any(serves) {
            return Serving::Served;
        }
        match newest.holds.get(uid) {
            Some(Held {
                attempt,
                outcome: Err(message),
            }) if *attempt == pod.attempt => Serving::Refused(message.clone()),
            _ => Serving::Waiting,
        }
    }

    /// Changes whenever anything here does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Number of connected proxies.
    pub fn connected(&self) -> usize {
        self.lock().connections.len()
    }

    /// The process of the newest proxy.
    pub fn newest_pid(&self) -> Option<i32> {
        self.lock().connections.values().next_back()?.pid
    }

    pub(super) fn connect(&self, pid: Option<i32>) -> ConnectionId {
        let mut state = self.lock();
        let id = state
            .connections
            .keys()
            .next_back()
            .map_or(0, |last| last + 1);
        state.connections.insert(
            id,
            Connection {
                pid,
                holds: HashMap::new(),
            },
        );
        drop(state);
        self.notify();
        id
    }

    pub(super) fn disconnect(&self, id: ConnectionId) {
        self.lock().connections.remove(&id);
        self.notify();
    }

    /// What brings this connection nearer to what it should hold; removals first.
    pub(super) fn next(&self, id: ConnectionId) -> Option<Action> {
        let state = self.lock();
        let connection = state.connections.get(&id)?;
        let is_stale = |(uid, held): &(&String, &Held)| {
            state
                .pods
                .get(*uid)
                .is_none_or(|pod| pod.attempt.generation != held.attempt.generation)
        };
        if let Some((uid, _)) = connection.holds.iter().find(is_stale) {
            return Some(Action::Del { uid: uid.clone() });
        }
        let is_newest = state.connections.keys().next_back() == Some(&id);
        if !is_newest {
            return None;
        }
        let is_missing = |(uid, pod): &(&String, &Pod)| {
            connection
                .holds
                .get(*uid)
                .is_none_or(|held| held.outcome.is_err() && held.attempt != pod.attempt)
        };
        state
            .pods
            .iter()
            .find(is_missing)
            .map(|(uid, pod)| Action::Add {
                uid: uid.clone(),
                handover: pod.handover.clone(),
                attempt: pod.attempt,
            })
    }

    pub(super) fn added(
        &self,
        id: ConnectionId,
        uid: &str,
        attempt: Attempt,
        outcome: Result<(), String>,
    ) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection
                .holds
                .insert(uid.to_owned(), Held { attempt, outcome });
        }
        self.notify();
    }

    pub(super) fn deleted(&self, id: ConnectionId, uid: &str) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.holds.remove(uid);
        }
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|revision| *revision += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the maps are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
