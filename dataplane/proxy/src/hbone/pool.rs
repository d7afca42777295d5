//! Tunnels to peers, shared by a pod's connections. A pool belongs to one pod, so its
//! tunnels have one source identity and one network namespace.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::HeaderMap;

use super::choice::spread;
use super::dial::{DialError, dial};
use super::error::{OPEN_LIMIT, TunnelError};
use super::peer::Peer;
use super::slots::{Driver, Slots};
use super::tunnel::{Tunnel, TunnelStream, drive, open};
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::IdentitySlot;
use crate::inpod::netns::NetNs;
use crate::telemetry::metrics::Metrics;

/// Of requests that a tunnel which is there did not take.
const MAX_RETRIES: usize = 3;

/// One pod's tunnels.
pub struct Pool {
    slots: Arc<Slots<Peer, Tunnel, DialError>>,
    netns: Arc<NetNs>,
    identity: Arc<IdentitySlot>,
    metrics: Arc<Metrics>,
    /// How long streams go on in a tunnel whose peer no root in force vouches for.
    drain: Duration,
}

impl Pool {
    pub fn new(
        netns: Arc<NetNs>,
        identity: Arc<IdentitySlot>,
        metrics: Arc<Metrics>,
        drain: Duration,
    ) -> Self {
        Self {
            slots: Slots::new(spread()),
            netns,
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
        certificate: &Arc<WorkloadCertificate>,
        peer: &Peer,
        target: SocketAddr,
        headers: HeaderMap,
    ) -> Result<TunnelStream, TunnelError> {
        let opening = async {
            let mut retries = 0;
            loop {
                let usable = |tunnel: &Tunnel| tunnel.usable(certificate);
                let dial = || self.dial(certificate.clone(), peer.clone());
                let (lease, dialled) = self.slots.lease(peer, usable, dial).await?;
                let shared = Arc::downgrade(&lease);
                let opened = open(lease, peer, target, headers.clone()).await;
                let Err(TunnelError::Http(_, err)) = &opened else {
                    return opened;
                };
                if !err.is_reset() {
                    // It takes no more streams; those it has go on. Nobody may pick it again.
                    self.slots.remove(peer, &shared);
                }
                // No byte of the application was sent on it.
                if !may_retry(err, dialled) || retries == MAX_RETRIES {
                    return opened;
                }
                retries += usize::from(dialled || err.is_reset());
            }
        };
        let limited = tokio::time::timeout(OPEN_LIMIT, opening).await;
        limited.unwrap_or(Err(TunnelError::TimedOut(peer.address)))
    }

    /// Makes a tunnel, and what will drive it. Goes on without whoever asked for it.
    fn dial(
        &self,
        certificate: Arc<WorkloadCertificate>,
        peer: Peer,
    ) -> impl Future<Output = Result<(Tunnel, Driver<Peer, Tunnel, DialError>), DialError>> + use<>
    {
        let (netns, identity) = (self.netns.clone(), self.identity.clone());
        let (metrics, drain) = (self.metrics.clone(), self.drain);
        async move {
            let (dialed, vouched) = dial(&netns, &certificate, &peer).await?;
            metrics.tunnels_opened.inc();
            let tunnel = Tunnel::new(&dialed, vouched, &certificate);
            let renewals = identity.renewals();
            let driver: Driver<_, _, _> =
                Box::new(move |member| Box::pin(drive(dialed, member, peer, renewals, drain)));
            Ok((tunnel, driver))
        }
    }
}

/// Whether a request that a tunnel did not take may be made again: a tunnel from before had ended or
/// was ending, as one may that was just dialled to a proxy that begins to drain. A stream alone
/// that was reset may where its peer says that it has not looked at it.
fn may_retry(err: &h2::Error, dialled: bool) -> bool {
    if err.is_reset() {
        err.reason() == Some(Reason::REFUSED_STREAM)
    } else {
        !dialled || (err.is_remote() && err.reason() == Some(Reason::NO_ERROR))
    }
}
