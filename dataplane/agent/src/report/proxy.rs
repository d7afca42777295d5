use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tulle_proxy_status::{STATUS_PATH, Status, Workload, WorkloadState};

use super::status_store::StatusStore;
use crate::mesh_node::ProxyStatus;
use crate::proxy::{Answered, ProxyObservations, Question, Seen};
use crate::zds::Proxies;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);
/// The same while a pod waits to be announced.
const SOON: Duration = Duration::from_millis(250);
/// And while a step waits for it.
const AT_ONCE: Duration = Duration::from_millis(20);

/// What a proxy sees of its pods. One that drains serves none of them any more.
fn seen(status: &Status) -> Seen {
    let state = |workload: &Workload| WorkloadState {
        draining: status.draining || workload.state.draining,
        ..workload.state
    };
    let workloads = status.workloads.iter();
    workloads
        .map(|workload| (workload.uid.clone(), state(workload)))
        .collect()
}

fn reported(status: Status) -> ProxyStatus {
    ProxyStatus {
        version: status.version,
        ready: status.ready,
        trust_bundle_sha256: status.trust_bundle_sha256.unwrap_or_default(),
    }
}

/// Keeps the store's word on the newest connected proxy: which version, ready or not, which trust
/// bundle; and what all proxies see of their pods, those that drain too. Proxies serve `/status`
/// in `directory`.
pub async fn watch_proxies(
    directory: PathBuf,
    proxies: Arc<Proxies>,
    store: Arc<StatusStore>,
    observations: &ProxyObservations,
) {
    let mut changed = proxies.watch();
    loop {
        changed.mark_unchanged();
        let connected = proxies.connected();
        let answers: Vec<Answered<Status>> = Question::Get(STATUS_PATH).ask(&directory).await;
        let said = answers.iter().map(|answered| {
            let seen = answered.answer.as_ref().map(seen);
            (answered.name.clone(), seen)
        });
        observations.said(said);
        let newest = proxies.newest_pid();
        let mut of_newest = answers
            .into_iter()
            .filter(|answered| newest.is_some() && answered.pid == newest);
        let answer = of_newest.find_map(|answered| answered.answer);
        store.set_proxy(answer.map(reported));
        let pause = tokio::time::sleep(if observations.awaited() { SOON } else { EVERY });
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = changed.changed() => {
                    if proxies.connected() != connected { break }
                    // A pod was taken over: what the proxy sees of it is waited for.
                    hasten(pause.as_mut(), SOON);
                }
                () = observations.hurried() => hasten(pause.as_mut(), AT_ONCE),
            }
        }
    }
}

fn hasten(pause: Pin<&mut Sleep>, limit: Duration) {
    let soon = pause.deadline().min(Instant::now() + limit);
    pause.reset(soon);
}
