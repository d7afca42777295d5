//! Tunnels to peers, shared by a pod's connections. A pool belongs to one pod, so its
//! tunnels have one source identity and one network namespace.
use std::sync::Arc;

use tokio::time::timeout;

use super::choice::spread;
use super::error::OPEN_LIMIT;
use super::slots::Slots;
use super::{Cause, Connect, DialError, Kind, Lease, NotTaken, Peer, TunnelError};
use crate::connection::{Side, Sink, Source};
use crate::identity::certificate::WorkloadCertificate;

/// Of connections that a tunnel which is there did not take.
const MAX_RETRIES: usize = 3;

/// One pod's tunnels.
pub struct Pool<K: Kind> {
    kind: K,
    slots: Arc<Slots<Peer, K::Tunnel, DialError>>,
}

/// A stream through a tunnel. It counts as in use until dropped.
pub struct TunnelStream<K: Kind> {
    stream: K::Stream,
    _lease: Lease<K::Tunnel>,
}

impl<K: Kind> Pool<K> {
    pub fn new(kind: K) -> Self {
        Self {
            kind,
            slots: Slots::new(spread()),
        }
    }

    /// Has a tunnel to the peer carry a connection.
    ///
    /// # Errors
    /// When the peer cannot be reached, is somebody else, or refuses.
    pub async fn connect(
        &self,
        certificate: &Arc<WorkloadCertificate>,
        peer: &Peer,
        connection: &Connect<'_>,
    ) -> Result<TunnelStream<K>, TunnelError> {
        let connecting = async {
            let mut retries = 0;
            loop {
                let usable = |tunnel: &K::Tunnel| K::is_usable(tunnel, certificate);
                let dial = || self.kind.dial(certificate.clone(), peer.clone());
                let (lease, dialled) = self.slots.lease(peer, usable, dial).await?;
                let NotTaken { error, cause } = match K::connect(&lease, peer, connection).await {
                    Ok(stream) => {
                        return Ok(TunnelStream {
                            stream,
                            _lease: lease,
                        });
                    }
                    Err(not_taken) => not_taken,
                };
                if let Cause::Tunnel { .. } = cause {
                    // It takes no more streams; those it has go on. Nobody may pick it again.
                    self.slots.remove(peer, &Arc::downgrade(&lease));
                }
                if !may_retry(cause, dialled) || retries == MAX_RETRIES {
                    return Err(error);
                }
                retries += usize::from(dialled || cause == Cause::Unseen);
            }
        };
        let limited = timeout(OPEN_LIMIT, connecting).await;
        limited.unwrap_or(Err(TunnelError::TimedOut(peer.address)))
    }
}

impl<K: Kind> Side for TunnelStream<K> {
    fn split(&mut self) -> (impl Source, impl Sink) {
        self.stream.split()
    }

    async fn end(&mut self) {
        self.stream.end().await;
    }

    async fn reset(&mut self) {
        self.stream.reset().await;
    }

    fn abort(&mut self) {
        self.stream.abort();
    }
}

/// Whether a connection that a tunnel did not take may be tried again: a tunnel from before had ended
/// or was ending, as one may that was just dialled to a proxy that begins to drain.
fn may_retry(cause: Cause, dialled: bool) -> bool {
    match cause {
        Cause::Connection => false,
        Cause::Unseen => true,
        Cause::Tunnel { in_order } => !dialled || in_order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_tried_again_where_another_try_can_help() {
        let ended = |in_order| Cause::Tunnel { in_order };
        for dialled in [false, true] {
            assert!(!may_retry(Cause::Connection, dialled), "the peer said no");
            assert!(may_retry(Cause::Unseen, dialled));
            assert!(may_retry(ended(true), dialled), "the peer drains");
        }
        assert!(may_retry(ended(false), false), "it had ended long before");
        assert!(!may_retry(ended(false), true), "another would end as well");
    }
}
