use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tulle_zds::{Hello, Refusal, RefusalReason};

use super::handover::{Action, Attempt, Handover, Serving};

/// Proxies in the order they connected.
pub(super) type ConnectionId = u64;

/// The pods that should be handed over, and what each connected proxy holds
/// of them. During an upgrade both get new pods, and serving them takes one: a
/// proxy that takes nothing over does not stand between pods and one that does.
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
    hello: Hello,
    holds: HashMap<String, Held>,
    /// Pods of which an answer is waited for. Of each at most one.
    asked: HashSet<String>,
}

struct Held {
    attempt: Attempt,
    outcome: Result<(), Refusal>,
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
        let attempt = match state.pods.get(uid) {
            Some(pod) if pod.handover.namespace == handover.namespace => Attempt {
                retry: pod.attempt.retry + 1,
                ..pod.attempt
            },
            _ => {
                state.generations += 1;
                Attempt {
                    generation: state.generations,
                    retry: 0,
                }
            }
        };
        state.pods.insert(uid.to_owned(), Pod { handover, attempt });
        drop(state);
        self.notify();
    }

    /// Takes a pod back from every proxy.
    pub fn remove(&self, uid: &str) {
        self.lock().pods.remove(uid);
        self.notify();
    }

    /// Whether any proxy holds the pod, or may be about to.
    pub fn is_held(&self, uid: &str) -> bool {
        let is_held = |connection: &Connection| {
            connection.holds.contains_key(uid) || connection.asked.contains(uid)
        };
        self.lock().connections.values().any(is_held)
    }

    pub fn serving(&self, uid: &str) -> Serving {
        let state = self.lock();
        if state.connections.is_empty() {
            return Serving::NoProxy;
        }
        let Some(pod) = state.pods.get(uid) else {
            return Serving::Waiting;
        };
        let mut all = state.connections.values();
        if all.any(|connection| connection.serves(uid, pod)) {
            return Serving::Served;
        }
        let asked = state.connections.values();
        let refusals: Option<Vec<&Refusal>> = asked
            .filter(|connection| state.gets_pods(connection))
            .map(|connection| connection.refusal(uid, pod))
            .collect();
        let Some([.., last]) = refusals.as_deref() else {
            return Serving::Waiting;
        };
        let mut all = refusals.iter().flatten();
        let is_for_good = all.all(|refusal| refusal.reason == RefusalReason::IdentityRefused);
        let reason = match last.reason {
            RefusalReason::IdentityRefused if !is_for_good => RefusalReason::NoCertificate,
            reason => reason,
        };
        Serving::Refused(Refusal {
            reason,
            message: last.message.clone(),
        })
    }

    /// Whether a proxy refused the pod as it was handed over last, whoever else serves it.
    pub fn is_refused(&self, uid: &str) -> bool {
        let state = self.lock();
        let Some(pod) = state.pods.get(uid) else {
            return false;
        };
        let mut asked = state.connections.values();
        asked
            .any(|connection| state.gets_pods(connection) && connection.refusal(uid, pod).is_some())
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

    /// Whether the newest proxy takes listeners the agent holds; `None` while there is no proxy.
    pub fn takes_listeners(&self) -> Option<bool> {
        let state = self.lock();
        let newest = state.connections.values().next_back()?;
        Some(newest.hello.takes_listeners)
    }

    pub(super) fn connect(&self, pid: Option<i32>, hello: Hello) -> ConnectionId {
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
                hello,
                holds: HashMap::new(),
                asked: HashSet::new(),
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

    /// What brings this connection nearer to what it should hold; removals first. To be asked of
    /// the proxy: its answer comes by [`Self::added`] or [`Self::deleted`].
    pub(super) fn next(&self, id: ConnectionId) -> Option<Action> {
        let mut state = self.lock();
        let action = state.next(id)?;
        let (Action::Add { uid, .. } | Action::Del { uid }) = &action;
        let connection = state.connections.get_mut(&id)?;
        connection.asked.insert(uid.clone());
        Some(action)
    }

    pub(super) fn added(
        &self,
        id: ConnectionId,
        uid: &str,
        attempt: Attempt,
        outcome: Result<(), Refusal>,
    ) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.asked.remove(uid);
            connection
                .holds
                .insert(uid.to_owned(), Held { attempt, outcome });
        }
        self.notify();
    }

    pub(super) fn deleted(&self, id: ConnectionId, uid: &str) {
        if let Some(connection) = self.lock().connections.get_mut(&id) {
            connection.asked.remove(uid);
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

impl State {
    fn next(&self, id: ConnectionId) -> Option<Action> {
        let connection = self.connections.get(&id)?;
        let is_stale = |(uid, held): &(&String, &Held)| {
            let pod = self.pods.get(*uid);
            pod.is_none_or(|pod| pod.attempt.generation != held.attempt.generation)
                && !connection.asked.contains(*uid)
        };
        if let Some((uid, _)) = connection.holds.iter().find(is_stale) {
            return Some(Action::Del { uid: uid.clone() });
        }
        if !self.gets_pods(connection) {
            return None;
        }
        let is_missing = |(uid, pod): &(&String, &Pod)| {
            let held = connection.holds.get(*uid);
            held.is_none_or(|held| held.outcome.is_err() && held.attempt != pod.attempt)
                && !connection.asked.contains(*uid)
        };
        let missing = self.pods.iter().find(is_missing);
        missing.map(|(uid, pod)| Action::Add {
            uid: uid.clone(),
            handover: connection.given(&pod.handover),
            attempt: pod.attempt,
        })
    }

    /// Proxies of two kinds cannot both have a pod's ports: it goes to those of the newest's kind.
    fn gets_pods(&self, connection: &Connection) -> bool {
        let newest = self.connections.values().next_back();
        newest
            .is_some_and(|newest| newest.hello.takes_listeners == connection.hello.takes_listeners)
    }
}

impl Connection {
    fn serves(&self, uid: &str, pod: &Pod) -> bool {
        self.holds.get(uid).is_some_and(|held| {
            held.attempt.generation == pod.attempt.generation && held.outcome.is_ok()
        })
    }

    /// Why it does not serve a pod as it was handed over last.
    fn refusal(&self, uid: &str, pod: &Pod) -> Option<&Refusal> {
        let held = self.holds.get(uid)?;
        let refusal = held.outcome.as_ref().err()?;
        (held.attempt == pod.attempt).then_some(refusal)
    }

    /// A pod as this proxy is to get it.
    fn given(&self, handover: &Handover) -> Handover {
        let mut given = handover.clone();
        if !self.hello.takes_listeners {
            given.listeners = None;
        }
        given
    }
}

#[cfg(test)]
#[path = "proxies_test.rs"]
mod tests;
