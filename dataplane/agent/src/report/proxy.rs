use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::board::Board;
use super::status::ProxyStatus;
use crate::proxy::{Carried, Question};
use crate::zds::Proxies;

const EVERY: Duration = Duration::from_secs(2);

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
    #[serde(default)]
    older_connections: usize,
}

impl Answer {
    fn older_connections(&self) -> HashMap<String, usize> {
        let workloads = self.workloads.iter();
        workloads
            .filter(|workload| workload.older_connections > 0)
            .map(|workload| (workload.uid.clone(), workload.older_connections))
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
/// or not, which trust bundle; and the number of older connections that all of
/// them carry. Proxies serve `/status` in `directory`.
pub async fn watch_proxies(
    directory: PathBuf,
    proxies: Arc<Proxies>,
    board: Arc<Board>,
    carried: &Carried,
) {
    let mut changed = proxies.watch();
    loop {
        changed.mark_unchanged();
        let (connected, pids) = (proxies.connected(), proxies.pids());
        let answers = Question::Get("/status").ask::<Answer>(&directory, &pids);
        let mut answers: HashMap<i32, Answer> = answers.await.into_iter().collect();
        let counts = answers.iter();
        carried.said(counts.map(|(pid, answer)| (*pid, answer.older_connections())));
        let newest = proxies.newest_pid().and_then(|pid| answers.remove(&pid));
        board.set_proxy(newest.map(Answer::into_status));
        let pause = tokio::time::sleep(EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = changed.changed() => if proxies.connected() != connected { break },
            }
        }
    }
}
