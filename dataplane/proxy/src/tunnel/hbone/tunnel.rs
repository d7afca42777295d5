//! One tunnel: what is in use of it, and its end.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, Uri, Version};

use super::dial::Dialed;
use super::liveness::alive;
use super::stream::{H2Sink, H2Source, H2Stream};
use super::{MAX_STREAMS, headers};
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::Renewals;
use crate::identity::vouched::Vouched;
use crate::tunnel::{Carrier, Cause, Connect, Lease, Member, NotTaken, Peer, Shared, TunnelError};

/// A tunnel without use for this many pings in a row is closed.
const IDLE_PINGS: u32 = 6;

pub struct Tunnel {
    send: SendRequest<Bytes>,
    vouched: Vouched,
    usable_until: SystemTime,
}

impl Tunnel {
    pub fn new(dialed: &Dialed, vouched: Vouched, certificate: &WorkloadCertificate) -> Self {
        Self {
            send: dialed.send.clone(),
            usable_until: dialed.peer_not_after.min(certificate.validity().not_after),
            vouched,
        }
    }

    /// Neither side's certificate has ended, and the roots in force vouch for the peer.
    pub fn usable(&self, now: &Arc<WorkloadCertificate>) -> bool {
        self.vouched.by(now) && SystemTime::now() < self.usable_until
    }
}

impl Carrier for Tunnel {
    fn limit(&self) -> usize {
        self.send
            .current_max_send_streams()
            .min(MAX_STREAMS as usize)
    }
}

/// Opens a stream to the target. Who stops waiting has it reset.
///
/// # Errors
/// When the tunnel has ended, or the peer refuses.
pub async fn connect(
    lease: &Lease<Tunnel>,
    peer: &Peer,
    connection: &Connect<'_>,
) -> Result<H2Stream, NotTaken> {
    let http = |err| not_taken(peer, err);
    let request = request(connection).map_err(|err| NotTaken {
        error: TunnelError::Broken(peer.address, err.into()),
        cause: Cause::Connection,
    })?;
    let asking = Asking {
        shared: lease,
        heard: false,
    };
    let mut send = lease.tunnel.send.clone().ready().await.map_err(http)?;
    let (answer, sink) = send.send_request(request, false).map_err(http)?;
    let answer = answer.await;
    asking.heard();
    let answer = answer.map_err(http)?;
    if answer.status() != StatusCode::OK {
        return Err(NotTaken {
            error: TunnelError::Refused(peer.address, answer.status().to_string()),
            cause: Cause::Connection,
        });
    }
    Ok(H2Stream {
        source: H2Source::new(answer.into_body()),
        sink: H2Sink::shared(sink, lease.waiting.clone()),
    })
}

fn request(connection: &Connect<'_>) -> http::Result<Request<()>> {
    let authority = connection.target.to_string();
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(Uri::builder().authority(authority).build()?)
        .body(())?;
    *request.headers_mut() = headers::outbound(connection);
    Ok(request)
}

fn not_taken(peer: &Peer, err: h2::Error) -> NotTaken {
    let cause = match err.reason() {
        Some(Reason::REFUSED_STREAM) if err.is_reset() => Cause::Unseen,
        _ if err.is_reset() => Cause::Connection,
        reason => Cause::Tunnel {
            in_order: err.is_remote() && reason == Some(Reason::NO_ERROR),
        },
    };
    NotTaken {
        error: TunnelError::Broken(peer.address, err.into()),
        cause,
    }
}

/// A request that is waited for; dropped before the answer, it is held against the tunnel.
struct Asking<'a> {
    shared: &'a Shared<Tunnel>,
    heard: bool,
}

impl Asking<'_> {
    fn heard(mut self) {
        self.heard = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shared.answers(self.heard);
    }
}

/// Runs a tunnel until it ends, is dead, has long been idle, or its peer is believed no longer:
/// then streams have `drain` to end.
pub async fn drive(
    dialed: Dialed,
    member: Member<Tunnel>,
    peer: Peer,
    mut renewals: Renewals,
    drain: Duration,
) {
    let Dialed {
        mut connection,
        send,
        ..
    } = dialed;
    // The tunnel has its own; this one would keep the connection open.
    drop(send);
    let Some(pings) = connection.ping_pong() else {
        return;
    };
    let (mut idle, mut uses) = (0, 0);
    let watch = alive(pings, || {
        let Some(shared) = member.shared() else {
            return;
        };
        let (in_use, used) = shared.usage();
        idle = if in_use || used != uses { 0 } else { idle + 1 };
        uses = used;
        if idle >= IDLE_PINGS {
            member.leave();
        }
    });
    let retired = async {
        loop {
            let now = renewals.next().await;
            let shared = member.shared();
            if shared.is_some_and(|shared| !shared.tunnel.vouched.by(&now)) {
                break;
            }
        }
        tracing::info!(peer = %peer.address, identity = %peer.identity,
            "tunnel retired: no root in force vouches for its peer");
        member.leave();
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(err) = ended {
                tracing::debug!(%err, peer = %peer.address, "tunnel ended");
            }
        }
        () = watch => tracing::info!(peer = %peer.address, "tunnel given up: its peer does not answer"),
        // What is still open is cut.
        () = retired => {}
    }
}
