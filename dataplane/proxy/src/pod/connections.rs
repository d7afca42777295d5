//! The open connections of a pod, and their end.
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every task that serves a connection of one pod.
#[derive(Default)]
pub struct Connections {
    tasks: TaskTracker,
    /// No new streams on open tunnels; what is open goes on.
    closing: CancellationToken,
    ended: CancellationToken,
}

impl Connections {
    /// Serves a connection in a task of its own, until it ends or is ended.
    pub fn spawn(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            // None when it was ended from outside, and the future's drop closed it.
            let _cut_off = ended.run_until_cancelled(serve).await;
        });
    }

    /// Resolves when the pod is leaving.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Lets open connections finish for as long as `limit`, then ends what is left.
    /// Answers how many that were.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.closing.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(limit, self.tasks.wait()).await;
        let left = if finished.is_ok() {
            0
        } else {
            self.tasks.len()
        };
        self.ended.cancel();
        self.tasks.wait().await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_waits_and_then_ends() {
        let connections = Connections::default();
        connections.spawn(tokio::time::sleep(Duration::from_secs(5)));
        connections.spawn(std::future::pending());
        let started = tokio::time::Instant::now();
        assert_eq!(connections.drain(Duration::from_secs(30)).await, 1);
        assert_eq!(started.elapsed(), Duration::from_secs(30));
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_with_the_last_connection() {
        let connections = Connections::default();
        connections.spawn(tokio::time::sleep(Duration::from_secs(5)));
        let started = tokio::time::Instant::now();
        assert_eq!(connections.drain(Duration::from_secs(30)).await, 0);
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }
}
