use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};

use crate::Answer;
use crate::callers::CallerLimits;
use crate::connection::{serve_connection, spawn};

/// After a connection could not be accepted: most likely descriptors have to be closed first.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Every address of this host, of both families where it has both.
pub fn any_address() -> IpAddr {
    match std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// # Errors
/// With the address, when the port cannot be opened.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|err| io::Error::new(err.kind(), format!("opening {address}: {err}")))
}

/// Answers requests, which come with the address of their caller, for ever.
pub async fn serve_port<A, F>(listener: TcpListener, answer: A) -> Infallible
where
    A: Fn(Request<Incoming>, IpAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let answer = Arc::new(answer);
    accept(listener, |stream, from| {
        let answer = answer.clone();
        async move { serve_connection(stream, |request| answer(request, from)).await }
    })
    .await
}

/// Has `serve` serve each connection, for ever. Who has too many already is closed at once: nobody waits for
/// another's.
pub async fn accept<S, F>(listener: TcpListener, serve: S) -> Infallible
where
    S: Fn(TcpStream, IpAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let limits = Arc::new(CallerLimits::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let local = stream.local_addr().map(|local| local.ip());
        if let Some(place) = local.ok().and_then(|local| limits.admit(peer.ip(), local)) {
            spawn(place, serve(stream, peer.ip()));
        }
    }
}
