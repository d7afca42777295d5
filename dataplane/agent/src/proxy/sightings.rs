use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Question;
use crate::zds::Proxies;

/// Connections by pod.
type Counts = HashMap<String, usize>;

/// Connections that proxies carry in plaintext to peers that have joined the
/// mesh since: made through the mesh, and older than it all the same.
pub struct Carried {
    directory: PathBuf,
    proxies: Arc<Proxies>,
    /// By proxy, as each said last.
    counts: watch::Sender<HashMap<i32, Counts>>,
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

impl Carried {
    /// Proxies serve in `directory`.
    pub fn new(directory: PathBuf, proxies: Arc<Proxies>) -> Self {
        Self {
            directory,
            proxies,
            counts: watch::Sender::default(),
        }
    }

    /// Takes in what proxies have said. One that is connected and has not answered is believed as before.
    pub fn said(&self, answers: impl IntoIterator<Item = (i32, Counts)>) {
        let connected = self.proxies.pids();
        self.counts.send_if_modified(|counts| {
            let before = counts.clone();
            counts.extend(answers);
            counts.retain(|pid, _| connected.contains(pid));
            *counts != before
        });
    }

    /// How many a pod has, at all proxies.
    pub fn count(&self, uid: &str) -> usize {
        let counts = self.counts.borrow();
        counts.values().filter_map(|of| of.get(uid)).sum()
    }

    /// Changes with the numbers.
    pub fn watch(&self) -> watch::Receiver<HashMap<i32, Counts>> {
        self.counts.subscribe()
    }

    /// Has every proxy end a pod's: those in which nothing has moved for
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
