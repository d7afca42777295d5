use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::status_store::StatusStore;
use crate::cluster::{Cluster, StatusOutcome};
use crate::jitter::jittered;
use crate::mesh_node::MeshNodeStatus;

/// First wait after a failed write; doubles to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How often to look for a MeshNode that is not there yet.
const ABSENT_WAIT: Duration = Duration::from_secs(1);

/// Stores the store's newest content for ever: at most one write at a time,
/// changes meanwhile go with the next, what is stored already is not written
/// again.
pub async fn write(cluster: Arc<dyn Cluster>, store: Arc<StatusStore>) {
    let mut changed = store.watch();
    let mut replaced = cluster.mesh_node_replaced();
    let mut stored: Option<MeshNodeStatus> = None;
    let mut failures = 0u32;
    loop {
        changed.mark_unchanged();
        if replaced.has_changed().unwrap_or(false) {
            replaced.mark_unchanged();
            stored = None;
        }
        let (revision, status) = store.status();
        let wait = if stored.as_ref() == Some(&status) {
            store.mark_written(revision, true);
            failures = 0;
            None
        } else {
            match cluster.store_status(&status).await {
                Ok(StatusOutcome::Stored) => {
                    debug!(revision, "MeshNode status stored");
                    stored = Some(status);
                    store.mark_written(revision, true);
                    continue;
                }
                Ok(StatusOutcome::NoMeshNode) => {
                    store.mark_written(revision, false);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::sync::watch;

    use super::*;
    use crate::cluster::{ClusterError, MeshNodeSeen, NamespaceView, PodView, View};
    use crate::report::{PodCondition, PodReport};

    /// Answers each write with the next of `answers`, then with success.
    struct Scripted {
        answers: Mutex<Vec<Result<StatusOutcome, ClusterError>>>,
        writes: watch::Sender<Vec<MeshNodeStatus>>,
        view: watch::Sender<View>,
        mesh_node: watch::Sender<MeshNodeSeen>,
    }

    impl Scripted {
        fn start(
            answers: Vec<Result<StatusOutcome, ClusterError>>,
        ) -> (Arc<Self>, Arc<StatusStore>) {
            let cluster = Arc::new(Self {
                answers: Mutex::new(answers),
                writes: watch::Sender::new(Vec::new()),
                view: watch::Sender::new(View::default()),
                mesh_node: watch::Sender::new(MeshNodeSeen::default()),
            });
            let store = Arc::new(StatusStore::new("test"));
            tokio::spawn(write(
                Arc::clone(&cluster) as Arc<dyn Cluster>,
                Arc::clone(&store),
            ));
            (cluster, store)
        }

        fn count(&self) -> usize {
            self.writes.borrow().len()
        }
    }

    impl Cluster for Scripted {
        fn view(&self) -> watch::Receiver<View> {
            self.view.subscribe()
        }
        fn pod<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<PodView>, ClusterError>> {
            async { Ok(None) }.boxed()
        }
        fn namespace<'a>(
            &'a self,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<NamespaceView>, ClusterError>> {
            async { Ok(None) }.boxed()
        }
        fn stored_status(&self) -> BoxFuture<'_, Result<Option<MeshNodeStatus>, ClusterError>> {
            async { Ok(None) }.boxed()
        }
        fn store_status<'a>(
            &'a self,
            status: &'a MeshNodeStatus,
        ) -> BoxFuture<'a, Result<StatusOutcome, ClusterError>> {
            async move {
                self.writes
                    .send_modify(|writes| writes.push(status.clone()));
                self.answers
                    .lock()
                    .unwrap()
                    .pop()
                    .unwrap_or(Ok(StatusOutcome::Stored))
            }
            .boxed()
        }
        fn may_read_metrics<'a>(
            &'a self,
            _token: &'a str,
        ) -> BoxFuture<'a, Result<tulle_metrics_server::Access, ClusterError>> {
            async { Ok(tulle_metrics_server::Access::Unknown) }.boxed()
        }

        fn mesh_node_replaced(&self) -> watch::Receiver<MeshNodeSeen> {
            self.mesh_node.subscribe()
        }
    }

    fn report(captured: bool) -> PodReport {
        PodReport::new(&PodView::default(), captured, PodCondition::secured())
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn many_changes_go_with_few_writes_and_no_change_with_none() {
        let (cluster, store) = Scripted::start(Vec::new());
        let mut last = 0;
        for turn in 0..100 {
            last = store.set_pod("a", report(turn % 2 == 0));
        }
        assert_eq!(store.written(last, LIMIT).await, Ok(true));
        assert_eq!(cluster.count(), 1);
        let same = store.set_pod("a", report(false));
        assert_eq!(store.written(same, LIMIT).await, Ok(true));
        assert_eq!(cluster.count(), 1, "what is stored is not written again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_tried_again_with_the_newest_content() {
        let failure = || {
            Err(ClusterError {
                what: "writing".into(),
                cause: "away".into(),
            })
        };
        let (cluster, store) = Scripted::start(vec![failure(), failure()]);
        let revision = store.set_pod("a", report(true));
        assert_eq!(store.written(revision, LIMIT).await, Ok(true));
        assert_eq!(cluster.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_mesh_node_nobody_was_told_and_it_is_written_once_there_is_one() {
        let (cluster, store) = Scripted::start(vec![Ok(StatusOutcome::NoMeshNode)]);
        let revision = store.set_pod("a", report(true));
        assert_eq!(store.written(revision, LIMIT).await, Ok(false));
        let mut writes = cluster.writes.subscribe();
        writes.wait_for(|writes| writes.len() == 2).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn another_mesh_node_gets_everything_again() {
        let (cluster, store) = Scripted::start(Vec::new());
        let revision = store.set_pod("a", report(true));
        store.written(revision, LIMIT).await.unwrap();
        cluster.mesh_node.send_modify(|seen| seen.revision += 1);
        let mut writes = cluster.writes.subscribe();
        writes.wait_for(|writes| writes.len() == 2).await.unwrap();
    }
}
