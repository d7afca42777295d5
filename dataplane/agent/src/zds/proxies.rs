use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tulle_wire::zds::WorkloadInfo;

use crate::netns::Netns;
use crate::ports::Listeners;

/// A pod as the proxies get it.
#[derive(Clone, Debug)]
pub struct Handover {
    pub info: WorkloadInfo,
    pub namespace: Netns,
    /// For proxies that take them; another listens in the pod itself.
    pub listeners: Option<Listeners>,
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
    takes_listeners: bool,
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

    /// Whether the newest proxy takes listeners the agent holds; `None` while there is no proxy.
    pub fn takes_listeners(&self) -> Option<bool> {
        let state = self.lock();
        let newest = state.connections.values().next_back()?;
        Some(newest.takes_listeners)
    }

    pub(super) fn connect(&self, pid: Option<i32>, takes_listeners: bool) -> ConnectionId {
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
                takes_listeners,
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
                handover: connection.given(&pod.handover),
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

impl Connection {
    /// A pod as this proxy is to get it.
    fn given(&self, handover: &Handover) -> Handover {
        let mut given = handover.clone();
        if !self.takes_listeners {
            given.listeners = None;
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn handover(namespace: &str) -> Handover {
        let namespace = Netns::open(Path::new(&format!("/proc/self/ns/{namespace}"))).unwrap();
        Handover {
            info: WorkloadInfo::default(),
            namespace,
            listeners: None,
        }
    }

    /// Does what the connection should do next; returns it in words.
    fn act(proxies: &Proxies, id: ConnectionId, outcome: Result<(), String>) -> Option<String> {
        match proxies.next(id)? {
            Action::Add { uid, attempt, .. } => {
                proxies.added(id, &uid, attempt, outcome);
                Some(format!("add {uid}"))
            }
            Action::Del { uid } => {
                proxies.deleted(id, &uid);
                Some(format!("del {uid}"))
            }
        }
    }

    #[test]
    fn a_new_proxy_gets_every_pod_and_older_ones_learn_of_removals_only() {
        let proxies = Proxies::default();
        proxies.add("a", handover("net"));
        assert_eq!(proxies.serving("a"), Serving::NoProxy);
        let older = proxies.connect(None, true);
        assert_eq!(proxies.serving("a"), Serving::Waiting);
        assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("add a"));
        assert_eq!(proxies.serving("a"), Serving::Served);

        let newer = proxies.connect(None, true);
        proxies.add("b", handover("net"));
        assert_eq!(act(&proxies, older, Ok(())), None);
        assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add a"));
        assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add b"));
        proxies.remove("a");
        assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("del a"));
        assert!(proxies.is_held("a"));
        assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("del a"));
        assert!(!proxies.is_held("a"));
    }

    #[test]
    fn when_the_newest_goes_the_one_before_takes_its_place() {
        let proxies = Proxies::default();
        let older = proxies.connect(Some(1), true);
        let newer = proxies.connect(Some(2), true);
        proxies.add("a", handover("net"));
        assert_eq!(
            (act(&proxies, older, Ok(())), proxies.newest_pid()),
            (None, Some(2))
        );
        proxies.disconnect(newer);
        assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("add a"));
        assert_eq!(proxies.newest_pid(), Some(1));
    }

    #[test]
    fn a_refused_pod_is_handed_over_again_only_when_it_is_added_again() {
        let proxies = Proxies::default();
        let proxy = proxies.connect(None, true);
        proxies.add("a", handover("net"));
        act(&proxies, proxy, Err("no certificate".into()));
        assert_eq!(
            proxies.serving("a"),
            Serving::Refused("no certificate".into())
        );
        assert_eq!(act(&proxies, proxy, Ok(())), None);
        proxies.add("a", handover("net"));
        assert_eq!(proxies.serving("a"), Serving::Waiting);
        assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("add a"));
        assert_eq!(proxies.serving("a"), Serving::Served);
        proxies.add("a", handover("net"));
        assert_eq!(
            act(&proxies, proxy, Ok(())),
            None,
            "what was accepted is not sent again"
        );
    }

    #[test]
    fn another_namespace_of_the_same_pod_is_taken_back_and_handed_over_anew() {
        let proxies = Proxies::default();
        let proxy = proxies.connect(None, true);
        proxies.add("a", handover("net"));
        act(&proxies, proxy, Ok(()));
        proxies.add("a", handover("mnt"));
        assert_eq!(proxies.serving("a"), Serving::Waiting);
        assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("del a"));
        assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("add a"));
    }
}
