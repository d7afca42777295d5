//! The conversation with the agent, and its resumption.
use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::message::{Handed, Pod, Request, ack, hello, parse};
use super::socket::ZdsSocket;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Whoever serves the pods. Answers go back to the agent word for word.
pub trait Handler: Send + Sync {
    /// Begins to serve `pod`; returns once it is served, or with what failed and nothing left half done.
    fn add(&self, pod: Pod, handed: Handed) -> impl Future<Output = Result<(), String>> + Send;
    /// Whether the pod is served.
    fn keep(&self, uid: &str) -> Result<(), String>;
    fn delete(&self, uid: &str);
    /// Only these pods are there; any other is gone.
    fn snapshot(&self, listed: &HashSet<String>);
    fn connected(&self, connected: bool);
}

/// Talks to the agent for ever: pods stay served while it is away, until its next snapshot.
pub async fn run(path: &Path, handler: &impl Handler) {
    let mut wait = FIRST_RETRY;
    loop {
        let ended = match ZdsSocket::connect(path) {
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

async fn converse(
    socket: &ZdsSocket,
    handler: &impl Handler,
    wait: &mut Duration,
) -> io::Result<()> {
    socket.send(&hello()).await?;
    // Uids named before the snapshot is complete; none afterwards.
    let mut listed = Some(HashSet::new());
    while let Some(received) = socket.receive().await? {
        *wait = FIRST_RETRY;
        let request = received.and_then(|(bytes, descriptors)| parse(&bytes, descriptors));
        let result = match request {
            Ok(request) => serve(request, handler, &mut listed).await,
            Err(err) => Err(err.to_string()),
        };
        if let Err(err) = &result {
            tracing::warn!(%err, "the agent's request failed");
        }
        socket.send(&ack(result)).await?;
    }
    Ok(())
}

async fn serve(
    request: Request,
    handler: &impl Handler,
    listed: &mut Option<HashSet<String>>,
) -> Result<(), String> {
    let mut list = |uid: &str| {
        if let Some(listed) = listed {
            listed.insert(uid.to_owned());
        }
    };
    match request {
        Request::Add(pod, handed) => {
            list(&pod.uid);
            handler.add(pod, handed).await
        }
        Request::Keep { uid } => {
            list(&uid);
            handler.keep(&uid)
        }
        Request::Delete { uid } => {
            if let Some(listed) = listed {
                listed.remove(&uid);
            }
            handler.delete(&uid);
            Ok(())
        }
        Request::SnapshotSent => {
            if let Some(listed) = listed.take() {
                handler.snapshot(&listed);
            }
            Ok(())
        }
    }
}
