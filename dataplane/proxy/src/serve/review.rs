//! Open connections, asked about again when policy changes.
use std::sync::Arc;
use std::time::Duration;

use super::PodManager;
use crate::connection::{Basis, Question};
use crate::inbound::denied_now;
use crate::pod::Pod;
use crate::shared::Shared;

/// Changes come in bursts; open connections are asked about once a burst.
const SETTLE: Duration = Duration::from_millis(200);

/// Reviews open connections whenever the mesh changes, for ever.
pub async fn watch_policies(shared: Arc<Shared>, pods: Arc<PodManager>) {
    let mut changes = shared.state.changes();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        changes.mark_unchanged();
        pods.pods().iter().for_each(|pod| review(pod));
    }
}

/// Ends what is denied now.
fn review(pod: &Pod) {
    let basis = Basis::new(&pod.shared.state.read(), &pod.workload_uid);
    let is_denied = |asked: &Question| denied_now(pod, asked.own, &asked.connection);
    pod.connections.review(basis, is_denied);
}
