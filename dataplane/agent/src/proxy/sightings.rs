use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::Question;

/// What one proxy sees of a pod it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// The control plane tells peers to reach the pod by mutual TLS.
    #[serde(default)]
    pub announced: bool,
    /// The control plane tells everybody that the pod is being enrolled; none of a proxy that does not know of it.
    #[serde(default)]
    pub enrolling: Option<bool>,
    /// Connections carried in plaintext with peers that have joined the mesh
    /// since: made through the mesh, and older than it all the same.
    #[serde(default)]
    pub older_connections: usize,
    /// The proxy serves it no longer and finishes what is open.
    #[serde(default)]
    pub draining: bool,
}

/// By pod.
pub type Seen = HashMap<String, Sighting>;

/// What the node's proxies see of their pods.
pub struct Sightings {
    directory: PathBuf,
    /// By proxy, as each said last.
    seen: watch::Sender<HashMap<String, Seen>>,
    hurry: Notify,
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
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            seen: watch::Sender::default(),
            hurry: Notify::new(),
        }
    }

    /// Takes in what all proxies that are there have said, by their names. One that is there and
    /// has not answered is believed as before.
    pub fn said(&self, answers: impl IntoIterator<Item = (String, Option<Seen>)>) {
        self.seen.send_if_modified(|seen| {
            let mut before = std::mem::take(seen);
            let unchanged = before.clone();
            for (name, answer) in answers {
                let last = before.remove(&name);
                if let Some(known) = answer.or(last) {
                    seen.insert(name, known);
                }
            }
            *seen != unchanged
        });
    }

    /// Leaves out what was seen of a pod so far, which no longer holds.
    pub fn forget(&self, uid: &str) {
        self.seen.send_if_modified(|seen| {
            let forgotten = seen.values_mut().filter_map(|pods| pods.remove(uid));
            forgotten.count() > 0
        });
    }

    /// A pod as all proxies that have connections of it see it, taken together; none while none
    /// has said. Whether it is announced, only those say that serve it.
    pub fn of(&self, uid: &str) -> Option<Sighting> {
        let seen = self.seen.borrow();
        let sightings = seen.values().filter_map(|pods| pods.get(uid)).copied();
        sightings.reduce(together)
    }

    /// Whether a pod is served that is not announced.
    pub fn awaited(&self) -> bool {
        let seen = self.seen.borrow();
        let mut pods = seen.values().flat_map(HashMap::values);
        pods.any(|pod| !pod.announced && !pod.draining)
    }

    /// Somebody waits for what a proxy is about to see.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Resolves when somebody waits.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Changes with what is seen.
    pub fn watch(&self) -> watch::Receiver<HashMap<String, Seen>> {
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
        let answers = question.ask::<Ended>(&self.directory).await;
        let ended = answers.into_iter().filter_map(|answered| answered.answer);
        ended.map(|answer| answer.ended).sum()
    }
}

fn together(one: Sighting, other: Sighting) -> Sighting {
    Sighting {
        announced: match (one.draining, other.draining) {
            (false, true) => one.announced,
            (true, false) => other.announced,
            _ => one.announced && other.announced,
        },
        enrolling: match (one.draining, other.draining) {
            (false, true) => one.enrolling,
            (true, false) => other.enrolling,
            _ => one.enrolling.and_then(|one| Some(one && other.enrolling?)),
        },
        older_connections: one.older_connections + other.older_connections,
        draining: one.draining && other.draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(announced: bool, older_connections: usize, draining: bool) -> Option<Seen> {
        let sighting = Sighting {
            announced,
            enrolling: None,
            older_connections,
            draining,
        };
        Some(Seen::from([("pod".to_owned(), sighting)]))
    }

    fn sightings() -> Sightings {
        Sightings::new(PathBuf::new())
    }

    #[test]
    fn r34_a_draining_proxy_is_counted_and_has_no_say_in_what_is_announced() {
        let sightings = sightings();
        sightings.said([
            ("old".to_owned(), seen(false, 2, true)),
            ("new".to_owned(), seen(true, 1, false)),
        ]);
        let pod = sightings.of("pod").unwrap();
        assert_eq!((pod.announced, pod.older_connections), (true, 3));
        assert!(!sightings.awaited());
    }

    #[test]
    fn a_proxy_that_does_not_answer_is_believed_as_before_until_it_is_gone() {
        let sightings = sightings();
        sightings.said([("old".to_owned(), seen(true, 2, true))]);
        sightings.said([("old".to_owned(), None)]);
        assert_eq!(sightings.of("pod").unwrap().older_connections, 2);
        sightings.said([]);
        assert_eq!(sightings.of("pod"), None);
    }
}
