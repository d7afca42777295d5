//! The three ports a pod is served on.
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Pod;
use super::steer::steer;
use crate::inpod::netns::NetNs;
use crate::inpod::original::canonical;
use crate::inpod::{HBONE_PORT, OUTBOUND_PORT, PLAINTEXT_PORT, socket};
use crate::{inbound, outbound};

/// After accept fails for want of descriptors or memory, how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a listener that hands over goes on accepting what is already on its way.
const HANDOVER: Duration = Duration::from_millis(1000);
/// A handshake begun before the steering is through by then; what comes later came by steering.
const SETTLED: Duration = Duration::from_millis(300);

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening port {port} in the pod: {source}")]
pub struct ListenError {
    port: u16,
    source: io::Error,
}

/// The pod's ports, open and not yet accepting.
pub struct Listeners([(Purpose, TcpListener); 3]);

#[derive(Clone, Copy, Debug)]
enum Purpose {
    Outbound,
    Plaintext,
    Hbone,
}

/// Accepting, until told to stop.
pub struct Accepting {
    stop: CancellationToken,
    hand_over: CancellationToken,
    loops: TaskTracker,
}

impl Listeners {
    /// Opens all ports, or none.
    ///
    /// # Errors
    /// The first port that could not be opened.
    pub fn open(netns: &NetNs) -> Result<Self, ListenError> {
        let open = |purpose, port| {
            let listener =
                socket::listen(netns, port).map_err(|source| ListenError { port, source })?;
            Ok((purpose, listener))
        };
        Ok(Self([
            open(Purpose::Outbound, OUTBOUND_PORT)?,
            open(Purpose::Plaintext, PLAINTEXT_PORT)?,
            open(Purpose::Hbone, HBONE_PORT)?,
        ]))
    }

    /// Begins to accept.
    pub fn accept(self, pod: &Arc<Pod>) -> Accepting {
        let accepting = Accepting {
            stop: CancellationToken::new(),
            hand_over: CancellationToken::new(),
            loops: TaskTracker::new(),
        };
        for (purpose, listener) in self.0 {
            let (stop, hand_over) = (accepting.stop.clone(), accepting.hand_over.clone());
            let pod = pod.clone();
            accepting.loops.spawn(async move {
                tokio::select! {
                    () = accept(&listener, &pod, purpose) => {}
                    () = stop.cancelled() => {}
                    () = hand_over.cancelled() => take_leave(&listener, &pod, purpose).await,
                }
            });
        }
        accepting.loops.close();
        accepting
    }
}

impl Accepting {
    /// Closes the ports.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.loops.wait().await;
    }

    /// Leaves new connections to a successor that listens on the same ports, then closes them.
    pub async fn hand_over(&self) {
        self.hand_over.cancel();
        self.loops.wait().await;
    }
}

async fn accept(listener: &TcpListener, pod: &Arc<Pod>, purpose: Purpose) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => begin(pod, purpose, stream, from),
            Err(err) => {
                tracing::warn!(pod = %pod.name(), port = ?purpose, %err, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn begin(pod: &Arc<Pod>, purpose: Purpose, stream: TcpStream, from: SocketAddr) {
    if socket::tune(&stream).is_err() {
        // The client is gone already.
        return;
    }
    let (serving, from) = (pod.clone(), canonical(from));
    match purpose {
        Purpose::Outbound => pod
            .connections
            .spawn(outbound::serve(serving, stream, from)),
        Purpose::Plaintext => pod
            .connections
            .spawn(inbound::serve_plaintext(serving, stream, from)),
        Purpose::Hbone => pod
            .connections
            .spawn(inbound::serve_hbone(serving, stream, from)),
    }
}

/// The successor is usually the second of the port's group; if connections still come here
/// once steering must have had its effect, it is the first.
async fn take_leave(listener: &TcpListener, pod: &Arc<Pod>, purpose: Purpose) {
    let started = Instant::now();
    if let Err(err) = steer(listener.as_fd(), 1) {
        tracing::warn!(pod = %pod.name(), port = ?purpose, %err, "cannot steer to a successor");
    }
    let mut steered_back = false;
    while let Some(left) = HANDOVER.checked_sub(started.elapsed()) {
        match tokio::time::timeout(left, listener.accept()).await {
            Err(_) => return,
            Ok(Err(_)) => tokio::time::sleep(ACCEPT_PAUSE).await,
            Ok(Ok((stream, from))) => {
                if !steered_back && started.elapsed() > SETTLED {
                    steered_back = true;
                    // Fails only as the first did, which was logged.
                    let _tried = steer(listener.as_fd(), 0);
                }
                begin(pod, purpose, stream, from);
            }
        }
    }
}
