//! The three ports a pod is served on.
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tulle_names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, PROXY_PORTS};

use crate::inpod::netns::NetNs;
use crate::inpod::original::canonical;
use crate::inpod::socket;
use crate::pod::Pod;
use crate::{inbound, outbound};

/// After accept fails for want of descriptors or memory, how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Why a pod cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("opening port {port} in the pod: {source}")]
    Open { port: u16, source: io::Error },
    #[error("the descriptor that came for port {port} is no listener there: {source}")]
    Handed { port: u16, source: io::Error },
}

impl ListenError {
    /// Something in the pod has the port; else it is the proxy that cannot.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
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
    loops: TaskTracker,
}

impl Listeners {
    /// Those the agent holds and has handed over; all opened here, where it holds none.
    ///
    /// # Errors
    /// The first port that cannot be listened on.
    pub fn new(handed: Option<[OwnedFd; 3]>, netns: &NetNs) -> Result<Self, ListenError> {
        let [outbound, plaintext, hbone] = match handed {
            Some([outbound, plaintext, hbone]) => [
                take(outbound, OUTBOUND_PORT),
                take(plaintext, INBOUND_PLAINTEXT_PORT),
                take(hbone, HBONE_PORT),
            ],
            None => PROXY_PORTS.map(|port| open(netns, port)),
        };
        Ok(Self([
            (Purpose::Outbound, outbound?),
            (Purpose::Plaintext, plaintext?),
            (Purpose::Hbone, hbone?),
        ]))
    }

    /// Begins to accept.
    pub fn accept(self, pod: &Arc<Pod>) -> Accepting {
        let accepting = Accepting {
            stop: CancellationToken::new(),
            loops: TaskTracker::new(),
        };
        for (purpose, listener) in self.0 {
            let (stop, pod) = (accepting.stop.clone(), pod.clone());
            accepting.loops.spawn(async move {
                tokio::select! {
                    () = accept(&listener, &pod, purpose) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        accepting.loops.close();
        accepting
    }
}

impl Accepting {
    /// Accepts no more. Connections that wait in a listener the agent holds wait on, for the next
    /// proxy; a listener that is this proxy's alone closes.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.loops.wait().await;
    }
}

/// Opens a listener in the pod.
fn open(netns: &NetNs, port: u16) -> Result<TcpListener, ListenError> {
    socket::listen(netns, port).map_err(|source| ListenError::Open { port, source })
}

/// Listens with a descriptor that came from the agent.
fn take(descriptor: OwnedFd, port: u16) -> Result<TcpListener, ListenError> {
    socket::listener(descriptor, port).map_err(|source| ListenError::Handed { port, source })
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
