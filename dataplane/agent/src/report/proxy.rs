use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::board::Board;
use super::status::ProxyStatus;
use crate::proxy::{Question, Sighting, Sightings};
use crate::zds::Proxies;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);
/// The same while a pod waits to be announced.
const SOON: Duration = Duration::from_millis(250);

/// What a proxy answers, as far as it is told on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    version: String,
    ready: bool,
    trust_bundle_sha256: Option<String>,
    #[serde(default)]
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workload {
    uid: String,
    #[serde(flatten)]
    sighting: Sighting,
}

impl Answer {
    fn sightings(&self) -> HashMap<String, Sighting> {
        let workloads = self.workloads.iter();
        workloads
            .map(|workload| (workload.uid.clone(), workload.sighting))
            .collect()
    }

    fn into_status(self) -> ProxyStatus {
        ProxyStatus {
            version: self.version,
            ready: self.ready,
            trust_bundle_sha256: self.trust_bundle_sha256.unwrap_or_default(),
        }
    }
}

/// Keeps the board's word on the newest connected proxy: which version, ready
/// or not, which trust bundle; and what all of them see of their pods. Proxies serve `/status` in `directory`.
pub async fn watch_proxies(
    directory: PathBuf,
    proxies: Arc<Proxies>,
    board: Arc<Board>,
    sightings: &Sightings,
) {
    let mut changed = proxies.watch();
    loop {
        changed.mark_unchanged();
        let (connected, pids) = (proxies.connected(), proxies.pids());
        let answers = Question::Get("/status").ask::<Answer>(&directory, &pids);
        let mut answers: HashMap<i32, Answer> = answers.await.into_iter().collect();
        let said = answers.iter();
        sightings.said(said.map(|(pid, answer)| (*pid, answer.sightings())));
        let newest = proxies.newest_pid().and_then(|pid| answers.remove(&pid));
        board.set_proxy(newest.map(Answer::into_status));
        let pause = tokio::time::sleep(if sightings.awaited() { SOON } else { EVERY });
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = changed.changed() => {
                    if proxies.connected() != connected { break }
                    // A pod was taken over: what the proxy sees of it is waited for.
                    let soon = Instant::now() + SOON;
                    if soon < pause.deadline() { pause.as_mut().reset(soon) }
                }
            }
        }
    }
}
