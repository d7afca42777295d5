use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Question;
use crate::zds::Proxies;

/// What one proxy sees of a pod it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// The control plane tells peers to reach the pod by mutual TLS.
    #[serde(default)]
    pub announced: bool,
    /// Connections carried in plaintext with peers that have joined the mesh
    /// since: made through the mesh, and older than it all the same.
    #[serde(default)]
    pub older_connections: usize,
}

/// By pod.
type Seen = HashMap<String, Sighting>;

/// What the connected proxies see of their pods.
pub struct Sightings {
    directory: PathBuf,
    proxies: Arc<Proxies>,
    /// By proxy, as each said last.
    seen: watch::Sender<HashMap<i32, Seen>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndOlder<'a> {
    uid: &'a str,
    /// None: by force.
    quiet_milliseconds: Option<u128>,
}

#[derive(Deserialize)]
struct Ended {
    ended: usize,
}

impl Sightings {
    /// Proxies serve in `directory`.
    pub fn new(directory: PathBuf, proxies: Arc<Proxies>) -> Self {
        Self {
            directory,
            proxies,
            seen: watch::Sender::default(),
        }
    }

    /// Takes in what proxies have said. One that is connected and has not answered is believed as before.
    pub fn said(&self, answers: impl IntoIterator<Item = (i32, Seen)>) {
        let connected = self.proxies.pids();
        self.seen.send_if_modified(|seen| {
            let before = seen.clone();
            seen.extend(answers);
            seen.retain(|pid, _| connected.contains(pid));
            *seen != before
        });
    }

    /// Leaves out what was seen of a pod so far, which no longer holds.
    pub fn forget(&self, uid: &str) {
        self.seen.send_if_modified(|seen| {
            let forgotten = seen.values_mut().filter_map(|pods| pods.remove(uid));
            forgotten.count() > 0
        });
    }

    /// A pod as all proxies that serve it see it, taken together; none while none has said.
    pub fn of(&self, uid: &str) -> Option<Sighting> {
        let seen = self.seen.borrow();
        let sightings = seen.values().filter_map(|pods| pods.get(uid)).copied();
        sightings.reduce(|one, other| Sighting {
            announced: one.announced && other.announced,
            older_connections: one.older_connections + other.older_connections,
        })
    }

    /// Whether a pod is served that is not announced.
    pub fn awaited(&self) -> bool {
        let seen = self.seen.borrow();
        let mut pods = seen.values().flat_map(HashMap::values);
        pods.any(|pod| !pod.announced)
    }

    /// Changes with what is seen.
    pub fn watch(&self) -> watch::Receiver<HashMap<i32, Seen>> {
        self.seen.subscribe()
    }

    /// Has every proxy end a pod's older connections: those in which nothing has moved for
    /// `quiet`, or all. Answers how many that were.
    pub async fn end(&self, uid: &str, quiet: Option<Duration>) -> usize {
        let order = EndOlder {
            uid,
            quiet_milliseconds: quiet.map(|quiet| quiet.as_millis()),
        };
        let Ok(order) = serde_json::to_string(&order) else {
            return 0;
        };
        let question = Question::Post("/older/end", order);
        let answers = question
            .ask::<Ended>(&self.directory, &self.proxies.pids())
            .await;
        answers.iter().map(|(_, ended)| ended.ended).sum()
    }
}
