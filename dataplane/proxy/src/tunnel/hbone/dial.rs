//! Making a tunnel: TCP from the pod, mutual TLS, HTTP/2.
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::{Wire, large_writes, wire};
use super::{CONNECTION_WINDOW, MAX_FRAME, MAX_HEADERS, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW};
use crate::identity::certificate::{Role, Validity, WorkloadCertificate};
use crate::identity::vouched::Vouched;
use crate::inpod::netns::NetNs;
use crate::inpod::socket;
use crate::tls::ALPN_H2;
use crate::tls::verifier::explain;
use crate::tunnel::{DIAL_LIMIT, DialError, Peer};

const TLS_LIMIT: Duration = Duration::from_secs(5);
/// A tunnel that is open and not yet driven.
pub struct Dialed {
    pub send: SendRequest<Bytes>,
    pub connection: Connection<TlsStream<Wire>, Bytes>,
    pub peer_not_after: SystemTime,
}

/// Connects to `peer` from the pod, and believes it only if it is exactly who it should be.
///
/// # Errors
/// Which of the three layers failed, and how.
pub async fn dial(
    netns: &NetNs,
    certificate: &Arc<WorkloadCertificate>,
    peer: &Peer,
) -> Result<(Dialed, Vouched), DialError> {
    let layers = tokio::time::timeout(DIAL_LIMIT, layers(netns, certificate, peer)).await;
    layers.unwrap_or(Err(DialError::TimedOut(peer.address)))
}

async fn layers(
    netns: &NetNs,
    certificate: &Arc<WorkloadCertificate>,
    peer: &Peer,
) -> Result<(Dialed, Vouched), DialError> {
    let at = peer.address;
    let tcp = socket::connect(netns, at)
        .await
        .map_err(|err| DialError::Connect(at, err))?;
    let (tls, peer_not_after, vouched) = secure(tcp, certificate, peer)
        .await
        .map_err(|err| DialError::Tls(at, err))?;
    let (send, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(MAX_STREAMS as usize)
        .enable_push(false)
        .handshake(tls)
        .await
        .map_err(|err| DialError::Begin(at, err.into()))?;
    let dialed = Dialed {
        send,
        connection,
        peer_not_after,
    };
    Ok((dialed, vouched))
}

async fn secure(
    tcp: TcpStream,
    certificate: &Arc<WorkloadCertificate>,
    peer: &Peer,
) -> io::Result<(TlsStream<Wire>, SystemTime, Vouched)> {
    socket::notice_dead_peer(&tcp)?;
    let config = certificate
        .client(&peer.identity)
        .map_err(io::Error::other)?;
    let name = ServerName::IpAddress(peer.address.ip().into());
    let mut tls = tokio::time::timeout(
        TLS_LIMIT,
        TlsConnector::from(config).connect(name, wire(tcp)),
    )
    .await
    .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))?
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
    let not_after = Validity::of(leaf).map_err(io::Error::other)?.not_after;
    let role = Role::Server(peer.identity.clone());
    let vouched = Vouched::new(chain, role, certificate.clone());
    Ok((tls, not_after, vouched))
}
