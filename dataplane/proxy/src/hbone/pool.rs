//! Tunnels to peers, shared by a pod's connections. A pool belongs to one pod, so its
//! tunnels have one source identity and one network namespace.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use super::MAX_STREAMS;
use super::dial::{Dialed, dial};
use super::stream::{H2Sink, H2Source};
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::{IdentitySlot, Renewals};
use crate::identity::spiffe::SpiffeId;
use crate::identity::vouched::Vouched;
use crate::inpod::netns::NetNs;
use crate::lock::lock;
use crate::telemetry::metrics::Metrics;

/// From the wish to the peer's answer; the peer itself gives the application five seconds.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(10);
/// A tunnel without use for this many pings in a row is closed.
const IDLE_PINGS: u32 = 6;

/// Streams on each tunnel before another is opened beside it, for as many as there are processors:
/// a tunnel's cryptography runs on one.
const SPREAD_AT: usize = 4;
const MAX_SPREAD: usize = 8;

/// Whom to reach, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub identity: SpiffeId,
    pub address: SocketAddr,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("TLS with {0}: {1}")]
    Tls(SocketAddr, std::io::Error),
    #[error("HTTP/2 with {0}: {1}")]
    Http(SocketAddr, h2::Error),
    #[error("{0} answered {1}")]
    Refused(SocketAddr, StatusCode),
    #[error("the target cannot be written as a request: {0}")]
    Request(#[from] http::Error),
    #[error("{0} did not answer within {limit} s", limit = OPEN_LIMIT.as_secs())]
    TimedOut(SocketAddr),
}

/// A stream through a tunnel. It counts as in use until dropped.
pub struct TunnelStream {
    pub source: H2Source,
    pub sink: H2Sink,
    _lease: Lease,
}

/// One pod's tunnels.
pub struct Pool {
    slots: Arc<Slots>,
    identity: Arc<IdentitySlot>,
    metrics: Arc<Metrics>,
    /// How long streams go on in a tunnel whose peer no root in force vouches for.
    drain: Duration,
}

type Slots = Mutex<HashMap<Peer, Arc<Slot>>>;

/// The tunnels to one peer. Only one is dialled at a time: those who come meanwhile share it.
#[derive(Default)]
struct Slot {
    dialing: tokio::sync::Mutex<()>,
    open: Mutex<Vec<Arc<Tunnel>>>,
}

struct Tunnel {
    send: SendRequest<Bytes>,
    vouched: Vouched,
    usable_until: SystemTime,
    streams: AtomicUsize,
    uses: AtomicU64,
}

struct Lease {
    tunnel: Arc<Tunnel>,
    slot: Weak<Slot>,
    /// Whether the tunnel had been used before.
    reused: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tunnel.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    pub fn new(identity: Arc<IdentitySlot>, metrics: Arc<Metrics>, drain: Duration) -> Self {
        Self {
            slots: Arc::default(),
            identity,
            metrics,
            drain,
        }
    }

    /// Opens a stream to `target` through the peer.
    ///
    /// # Errors
    /// When the peer cannot be reached, is somebody else, or refuses.
    pub async fn open(
        &self,
        netns: &NetNs,
        certificate: &Arc<WorkloadCertificate>,
        peer: &Peer,
        target: SocketAddr,
        headers: HeaderMap,
    ) -> Result<TunnelStream, TunnelError> {
        let opening = async {
            loop {
                let lease = self.lease(netns, certificate, peer).await?;
                let reused = lease.reused;
                match lease.open(peer, target, headers.clone()).await {
                    // The tunnel had ended or was ending; no byte of the application was sent on it.
                    Err(TunnelError::Http(..)) if reused => {}
                    other => return other,
                }
            }
        };
        let limited = tokio::time::timeout(OPEN_LIMIT, opening).await;
        limited.unwrap_or(Err(TunnelError::TimedOut(peer.address)))
    }

    async fn lease(
        &self,
        netns: &NetNs,
        certificate: &Arc<WorkloadCertificate>,
        peer: &Peer,
    ) -> Result<Lease, TunnelError> {
        let slot = lock(&self.slots).entry(peer.clone()).or_default().clone();
        if let Some(lease) = slot.pick(certificate, SPREAD_AT) {
            return Ok(lease);
        }
        let _only_one = slot.dialing.lock().await;
        if let Some(lease) = slot.pick(certificate, SPREAD_AT) {
            return Ok(lease);
        }
        let (dialed, vouched) = match dial(netns, certificate, peer).await {
            Ok(dialed) => dialed,
            Err(err) => {
                // A crowded tunnel is better than none.
                return slot.pick(certificate, usize::MAX).ok_or_else(|| {
                    forget(&self.slots, peer, &slot);
                    err
                });
            }
        };
        self.metrics.tunnels_opened.inc();
        let tunnel = Arc::new(Tunnel::new(&dialed, vouched, certificate));
        let lease = Lease {
            tunnel: tunnel.clone(),
            slot: Arc::downgrade(&slot),
            reused: false,
        };
        lock(&slot.open).push(tunnel.clone());
        let (slots, peer) = (Arc::downgrade(&self.slots), peer.clone());
        tokio::spawn(drive(
            dialed,
            Arc::downgrade(&tunnel),
            Arc::downgrade(&slot),
            slots,
            peer,
            self.identity.renewals(),
            self.drain,
        ));
        Ok(lease)
    }
}

/// Drops the slot of a peer that has no tunnel and nobody waiting for one.
fn forget(slots: &Slots, peer: &Peer, slot: &Arc<Slot>) {
    let mut slots = lock(slots);
    // The map and the caller hold it.
    if lock(&slot.open).is_empty() && Arc::strong_count(slot) <= 2 {
        slots.remove(peer);
    }
}

impl Slot {
    /// The emptiest tunnel of those that may still be used; none when it has no room, or is
    /// as full as `crowded` while there may be more tunnels.
    fn pick(
        self: &Arc<Self>,
        certificate: &Arc<WorkloadCertificate>,
        crowded: usize,
    ) -> Option<Lease> {
        let mut open = lock(&self.open);
        open.retain(|tunnel| tunnel.usable(certificate));
        let tunnel = open
            .iter()
            .filter(|tunnel| tunnel.has_room())
            .min_by_key(|tunnel| tunnel.in_use())?;
        if tunnel.in_use() >= crowded && open.len() < spread() {
            return None;
        }
        tunnel.streams.fetch_add(1, Ordering::AcqRel);
        tunnel.uses.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            tunnel: tunnel.clone(),
            slot: Arc::downgrade(self),
            reused: true,
        })
    }

    fn remove(&self, tunnel: &Weak<Tunnel>) {
        lock(&self.open).retain(|open| !std::ptr::eq(Arc::as_ptr(open), tunnel.as_ptr()));
    }
}

impl Tunnel {
    /// A tunnel with its first stream leased.
    fn new(dialed: &Dialed, vouched: Vouched, certificate: &WorkloadCertificate) -> Self {
        Self {
            send: dialed.send.clone(),
            usable_until: dialed.peer_not_after.min(certificate.validity().not_after),
            vouched,
            streams: AtomicUsize::new(1),
            uses: AtomicU64::new(1),
        }
    }

    /// Neither side's certificate has ended, and the roots in force vouch for the peer.
    fn usable(&self, now: &Arc<WorkloadCertificate>) -> bool {
        self.vouched.by(now) && SystemTime::now() < self.usable_until
    }

    fn has_room(&self) -> bool {
        let limit = self
            .send
            .current_max_send_streams()
            .min(MAX_STREAMS as usize);
        self.in_use() < limit
    }

    fn in_use(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }
}

impl Lease {
    async fn open(
        self,
        peer: &Peer,
        target: SocketAddr,
        headers: HeaderMap,
    ) -> Result<TunnelStream, TunnelError> {
        let http = |err| {
            // It takes no more streams; those it has go on. Nobody may pick it again.
            if let Some(slot) = self.slot.upgrade() {
                slot.remove(&Arc::downgrade(&self.tunnel));
            }
            TunnelError::Http(peer.address, err)
        };
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .version(Version::HTTP_2)
            .uri(Uri::builder().authority(target.to_string()).build()?)
            .body(())?;
        *request.headers_mut() = headers;
        let mut send = self.tunnel.send.clone().ready().await.map_err(http)?;
        let (answer, sink) = send.send_request(request, false).map_err(http)?;
        let answer = answer.await.map_err(http)?;
        if answer.status() != StatusCode::OK {
            return Err(TunnelError::Refused(peer.address, answer.status()));
        }
        let source = H2Source::new(answer.into_body());
        Ok(TunnelStream {
            source,
            sink: H2Sink(sink),
            _lease: self,
        })
    }
}

/// Runs a tunnel until it ends, is dead, has long been idle, or its peer is believed no longer.
async fn drive(
    dialed: Dialed,
    tunnel: Weak<Tunnel>,
    slot: Weak<Slot>,
    slots: Weak<Slots>,
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
    let Some(mut pings) = connection.ping_pong() else {
        return;
    };
    let watch = async {
        let mut idle = 0;
        let mut uses = 0;
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let pong = tokio::time::timeout(PING_LIMIT, pings.ping(h2::Ping::opaque())).await;
            if !matches!(pong, Ok(Ok(_))) {
                return;
            }
            let Some(tunnel) = tunnel.upgrade() else {
                continue;
            };
            let used = tunnel.uses.load(Ordering::Relaxed);
            let busy = tunnel.in_use() > 0 || used != uses;
            idle = if busy { 0 } else { idle + 1 };
            uses = used;
            if idle >= IDLE_PINGS
                && let Some(slot) = slot.upgrade()
            {
                // Once nobody can pick it and the last stream is gone, the connection ends by itself.
                slot.remove(&Arc::downgrade(&tunnel));
            }
        }
    };
    let retired = async {
        loop {
            let now = renewals.next().await;
            let Some(tunnel) = tunnel.upgrade() else {
                continue;
            };
            if !tunnel.vouched.by(&now) {
                break;
            }
        }
        tracing::info!(peer = %peer.address, identity = %peer.identity,
            "tunnel retired: no root in force vouches for its peer");
        if let Some(slot) = slot.upgrade() {
            slot.remove(&tunnel);
        }
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
    if let Some(slot) = slot.upgrade() {
        slot.remove(&tunnel);
        if let Some(slots) = slots.upgrade() {
            forget(&slots, &peer, &slot);
        }
    }
}

fn spread() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_SPREAD)
    })
}
