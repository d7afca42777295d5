//! The beginning of a tunnel: TLS, who the peer is, HTTP/2. Bounded in time; in number by
//! [`crate::tls::handshakes`].
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::identity::certificate::{Role, Validity};
use crate::identity::vouched::Vouched;
use crate::inpod::{original, socket};
use crate::pod::Pod;
use crate::spiffe::SpiffeId;
use crate::tls::ALPN_H2;
use crate::tls::peer::spiffe_id;
use crate::tls::verifier::explain;
use crate::tunnel::hbone::wire::{Wire, large_writes, wire};
use crate::tunnel::hbone::{
    CONNECTION_WINDOW, MAX_FRAME, MAX_HEADERS, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW,
};

/// For TLS, and again for HTTP/2's preface: who sends a byte at a time is cut off.
const LIMIT: Duration = Duration::from_secs(10);
/// A tunnel that has begun.
pub struct Established {
    pub connection: Connection<TlsStream<Wire>, Bytes>,
    pub peer: SpiffeId,
    pub vouched: Vouched,
    /// When the peer's certificate ends.
    pub until: SystemTime,
    /// The pod's address the peer dialled.
    pub own: IpAddr,
}

/// Takes a connection through its handshakes.
///
/// # Errors
/// What failed, or was refused.
pub async fn establish(pod: &Pod, tcp: TcpStream, from: SocketAddr) -> io::Result<Established> {
    let own = original::canonical(tcp.local_addr()?).ip();
    let handshakes = &pod.shared.handshakes;
    let turn = handshakes
        .begin(from.ip(), own)
        .ok_or_else(|| io::Error::other("too many handshakes of this peer are in progress"))?;
    tokio::select! {
        established = layers(pod, tcp, own) => established,
        () = turn.evicted() => {
            Err(io::Error::other("too many handshakes are in progress, and this peer has most of them"))
        }
    }
}

async fn layers(pod: &Pod, tcp: TcpStream, own: IpAddr) -> io::Result<Established> {
    let certificate = pod
        .certificate()
        .ok_or_else(|| io::Error::other("this pod has no certificate that is in force"))?;
    socket::notice_dead_peer(&tcp)?;
    let accepting = TlsAcceptor::from(certificate.server()).accept(wire(tcp));
    let mut tls = timeout(LIMIT, accepting)
        .await
        .map_err(|_| too_slow("TLS"))?
        .map_err(explain)?;

    let (_, session) = tls.get_mut();
    large_writes(session);
    if session.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the peer did not agree to h2"));
    }
    let chain = session.peer_certificates().unwrap_or_default();
    let leaf = chain
        .first()
        .ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
    let peer = spiffe_id(leaf).map_err(io::Error::other)?;
    let vouched = Vouched::new(chain, Role::Client, certificate);
    let until = Validity::of(leaf).map_err(io::Error::other)?.not_after;

    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(tls);
    let connection = timeout(LIMIT, handshake)
        .await
        .map_err(|_| too_slow("HTTP/2"))?
        .map_err(io::Error::other)?;
    Ok(Established {
        connection,
        peer,
        vouched,
        until,
        own,
    })
}

fn too_slow(layer: &str) -> io::Error {
    let text = format!("the peer's {layer} handshake took too long");
    io::Error::new(io::ErrorKind::TimedOut, text)
}
