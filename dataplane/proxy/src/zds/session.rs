//! The conversation with the agent, and its resumption.
use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tulle_zds::{Answer, Handed, Hello, Numbered, Pod, Refusal, Request, SeqPacket};

const HELLO: Hello = Hello {
    takes_listeners: true,
    answers_in_any_order: true,
};
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Pods whose answer is not given yet; beyond it nothing more is read. The agent asks for no more at once.
const MOST_UNDER_WAY: usize = 128;

/// Whoever serves the pods. Answers go back to the agent word for word.
pub trait Handler: Send + Sync {
    /// Begins to serve `pod`; returns once it is served, or with what failed and nothing left half
    /// done. Dropped before, it leaves nothing either.
    fn add(&self, pod: Pod, handed: Handed) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Whether the pod is served.
    fn keep(&self, uid: &str) -> Result<(), Refusal>;
    fn delete(&self, uid: &str);
    /// Only these pods are there; any other is gone. Some may still be being added.
    fn snapshot(&self, listed: &HashSet<String>);
    fn connected(&self, connected: bool);
}

/// Talks to the agent for ever: pods stay served while it is away, until its next snapshot.
pub async fn run(path: &Path, handler: &impl Handler) {
    let mut wait = FIRST_RETRY;
    loop {
        let ended = match SeqPacket::connect(path) {
            Ok(socket) => {
                tracing::info!(path = %path.display(), "connected to the agent");
                handler.connected(true);
                let ended = converse(&socket, handler, &mut wait).await;
                handler.connected(false);
                ended
            }
            Err(err) => Err(err),
        };
        match ended {
            Ok(()) => tracing::warn!("the agent closed the connection"),
            Err(err) => tracing::warn!(%err, path = %path.display(), "no connection to the agent"),
        }
        tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

/// Answers until the agent goes. Pods that are being added then are given up: the next snapshot names them again.
async fn converse(
    socket: &SeqPacket,
    handler: &impl Handler,
    wait: &mut Duration,
) -> io::Result<()> {
    socket.send(&HELLO.encode(), &[]).await?;
    // Uids named before the snapshot is complete; none afterwards.
    let mut listed = Some(HashSet::new());
    let mut under_way = FuturesUnordered::new();
    loop {
        let received = tokio::select! {
            Some((number, result)) = under_way.next() => {
                answer(socket, number, result).await?;
                continue;
            }
            received = socket.receive(), if under_way.len() < MOST_UNDER_WAY => received?,
        };
        let Some(received) = received else {
            return Ok(());
        };
        *wait = FIRST_RETRY;
        let Numbered { number, request } = Numbered::decode(received);
        let pod = request
            .map_err(Refusal::from)
            .and_then(|request| serve(request, handler, &mut listed));
        let result = match pod {
            Ok(Some((pod, handed))) => {
                let adding = async move { (number, handler.add(pod, handed).await) };
                if number.is_some() {
                    under_way.push(adding);
                    continue;
                }
                adding.await.1
            }
            Ok(None) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        answer(socket, number, result).await?;
    }
}

async fn answer(
    socket: &SeqPacket,
    number: Option<NonZeroU64>,
    result: Result<(), Refusal>,
) -> io::Result<()> {
    if let Err(refusal) = &result {
        tracing::warn!(err = refusal.message, "the agent's request failed");
    }
    let answer = Answer {
        number: number.map_or(0, NonZeroU64::get),
        outcome: result,
    };
    socket.send(&answer.encode(), &[]).await
}

/// Does what can be done at once; answers the pod where one is to be added.
fn serve(
    request: Request,
    handler: &impl Handler,
    listed: &mut Option<HashSet<String>>,
) -> Result<Option<(Pod, Handed)>, Refusal> {
    match request {
        Request::Add(pod, handed) => {
            list(listed, &pod.uid);
            return Ok(Some((pod, handed)));
        }
        Request::Keep { uid } => {
            list(listed, &uid);
            handler.keep(&uid)?;
        }
        Request::Delete { uid } => {
            if let Some(listed) = listed {
                listed.remove(&uid);
            }
            handler.delete(&uid);
        }
        Request::SnapshotSent => {
            if let Some(listed) = listed.take() {
                handler.snapshot(&listed);
            }
        }
    }
    Ok(None)
}

fn list(listed: &mut Option<HashSet<String>>, uid: &str) {
    if let Some(listed) = listed {
        listed.insert(uid.to_owned());
    }
}
