//! Whether a tunnel's peer is still there.
use std::future::Future;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep, timeout};

const PING_EVERY: Duration = Duration::from_secs(10);
/// How long an answer may take, in seconds that we were there to hear it.
const PING_LIMIT: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Pings until an answer is missing. `answered` is called after each that came.
pub async fn alive(mut pings: PingPong, mut answered: impl FnMut()) {
    loop {
        sleep(PING_EVERY).await;
        if heard(pings.ping(Ping::opaque())).await.is_none() {
            return;
        }
        answered();
    }
}

/// The pong, if it comes in time. The whole machine may be suspended, or this process stopped, and
/// then the answer waits unread: a second that took two was not ours, and does not count.
async fn heard(pong: impl Future<Output = Result<h2::Pong, h2::Error>>) -> Option<()> {
    let mut pong = std::pin::pin!(pong);
    let mut seconds = 0;
    while seconds < PING_LIMIT {
        let began = Instant::now();
        if let Ok(answer) = timeout(SECOND, &mut pong).await {
            return answer.ok().map(drop);
        }
        if began.elapsed() < 2 * SECOND {
            seconds += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_answer_is_given_up_after_ten_seconds() {
        let began = Instant::now();
        assert!(heard(pending()).await.is_none());
        assert_eq!(began.elapsed(), PING_LIMIT * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn r38_time_in_which_the_machine_stood_still_is_not_held_against_the_peer() {
        let (answer, pong) = tokio::sync::oneshot::channel::<h2::Pong>();
        let pong = async { pong.await.map_err(|_| h2::Reason::CANCEL.into()) };
        let mut heard = tokio::spawn(heard(pong));
        tokio::task::yield_now().await;
        // Nothing runs for a minute, and then everything that was due.
        advance(Duration::from_secs(60)).await;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(
            !heard.is_finished(),
            "it is asked whether an answer has come"
        );
        tokio::time::timeout(9 * SECOND, &mut heard)
            .await
            .expect_err("it has its time");
        drop(answer);
        assert!(heard.await.unwrap().is_none());
    }
}
