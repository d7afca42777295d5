use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tulle_proxy_status::{END_EXISTING_PATH, EndExistingConnections, Ended, WorkloadState};

use super::Question;

/// By pod.
pub type Seen = HashMap<String, WorkloadState>;

/// What the node's proxies say of their pods.
pub struct ProxyObservations {
    directory: PathBuf,
    /// By proxy, as each said last.
    seen: watch::Sender<HashMap<String, Seen>>,
    hurry: Notify,
}

impl ProxyObservations {
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
    pub fn of(&self, uid: &str) -> Option<WorkloadState> {
        let seen = self.seen.borrow();
        let states = seen.values().filter_map(|pods| pods.get(uid)).copied();
        states.reduce(together)
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

    /// Has every proxy end a pod's existing connections: those in which nothing has moved for
    /// `quiet`, or all. Answers how many that were.
    pub async fn end(&self, uid: &str, quiet: Option<Duration>) -> usize {
        let Ok(order) = serde_json::to_string(&EndExistingConnections::new(uid, quiet)) else {
            return 0;
        };
        let question = Question::Post(END_EXISTING_PATH, order);
        let answers = question.ask::<Ended>(&self.directory).await;
        let ended = answers.into_iter().filter_map(|answered| answered.answer);
        ended.map(|answer| answer.ended).sum()
    }
}

fn together(one: WorkloadState, other: WorkloadState) -> WorkloadState {
    WorkloadState {
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
        existing_connections: one.existing_connections + other.existing_connections,
        draining: one.draining && other.draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(announced: bool, existing_connections: usize, draining: bool) -> Option<Seen> {
        let observation = WorkloadState {
            announced,
            enrolling: None,
            existing_connections,
            draining,
        };
        Some(Seen::from([("pod".to_owned(), observation)]))
    }

    fn observations() -> ProxyObservations {
        ProxyObservations::new(PathBuf::new())
    }

    #[test]
    fn r34_a_draining_proxy_is_counted_and_has_no_say_in_what_is_announced() {
        let observations = observations();
        observations.said([
            ("old".to_owned(), seen(false, 2, true)),
            ("new".to_owned(), seen(true, 1, false)),
        ]);
        let pod = observations.of("pod").unwrap();
        assert_eq!((pod.announced, pod.existing_connections), (true, 3));
        assert!(!observations.awaited());
    }

    #[test]
    fn a_proxy_that_does_not_answer_is_believed_as_before_until_it_is_gone() {
        let observations = observations();
        observations.said([("old".to_owned(), seen(true, 2, true))]);
        observations.said([("old".to_owned(), None)]);
        assert_eq!(observations.of("pod").unwrap().existing_connections, 2);
        observations.said([]);
        assert_eq!(observations.of("pod"), None);
    }
}
