use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::board::Board;
use super::status::MeshNodeStatus;
use crate::cluster::{Cluster, StatusOutcome};

/// First wait after a failed write; doubles to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How often to look for a MeshNode that is not there yet.
const ABSENT_WAIT: Duration = Duration::from_secs(1);

/// Stores the board's newest content for ever: at most one write at a time,
/// changes meanwhile go with the next, what is stored already is not written
/// again. `node` counts the changes of the MeshNode object by others.
pub async fn write(cluster: Arc<dyn Cluster>, board: Arc<Board>) {
    let mut changed = board.watch();
    let mut replaced = cluster.mesh_node_replaced();
    let mut stored: Option<MeshNodeStatus> = None;
    let mut failures = 0u32;
    loop {
        changed.mark_unchanged();
        if replaced.has_changed().unwrap_or(false) {
            replaced.mark_unchanged();
            stored = None;
        }
        let (revision, status) = board.status();
        let wait = if stored.as_ref() == Some(&status) {
            board.mark_written(revision, true);
            failures = 0;
            None
        } else {
            match cluster.store_status(&status).await {
                Ok(StatusOutcome::Stored) => {
                    debug!(revision, "MeshNode status stored");
                    stored = Some(status);
                    board.mark_written(revision, true);
                    continue;
                }
                Ok(StatusOutcome::NoMeshNode) => {
                    board.mark_written(revision, false);
                    Some(jittered(ABSENT_WAIT))
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    warn!(err = %error, failures, "cannot store MeshNode status");
                    Some(jittered(
                        FIRST_WAIT
                            .saturating_mul(1 << failures.min(10))
                            .min(LONGEST_WAIT),
                    ))
                }
            }
        };
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => tokio::select! {
                _ = changed.changed() => {}
                _ = replaced.changed() => stored = None,
            },
        }
    }
}

/// Between half of `wait` and all of it, so that nodes do not write in step.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
