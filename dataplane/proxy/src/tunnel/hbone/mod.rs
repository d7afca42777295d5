//! HBONE: connections as HTTP/2 CONNECT streams in mutual TLS.
pub mod authority;
mod dial;
mod gathered;
pub mod headers;
mod liveness;
pub mod stream;
mod tunnel;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::dial::dial;
use self::stream::H2Stream;
use self::tunnel::{Tunnel, connect, drive};
use super::{Connect, Dialled, Driver, Kind, Lease, NotTaken, Peer};
use crate::identity::certificate::WorkloadCertificate;
use crate::identity::manager::IdentitySlot;
use crate::inpod::netns::NetNs;
use crate::telemetry::metrics::Metrics;

/// Streams per connection, as Istio's.
pub const MAX_STREAMS: u32 = 100;
/// What a peer may send before it is read, bytes: on a stream, and on a connection. All streams
/// may stall at once and take nothing from the others.
pub const STREAM_WINDOW: u32 = MIB / 2;
pub const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Bytes in one frame.
pub const MAX_FRAME: u32 = MIB;
/// All headers of one request together, bytes.
pub const MAX_HEADERS: u32 = 16 * 1024;
/// What one stream may have queued for writing, bytes.
pub const SEND_BUFFER: usize = 1024 * 1024;

const MIB: u32 = 1024 * 1024;

/// One pod's tunnels of this kind.
pub struct Hbone {
    pub netns: Arc<NetNs>,
    pub identity: Arc<IdentitySlot>,
    pub metrics: Arc<Metrics>,
    /// How long streams go on in a tunnel whose peer no root in force vouches for.
    pub drain: Duration,
}

impl Kind for Hbone {
    type Tunnel = Tunnel;
    type Stream = H2Stream;

    fn dial(
        &self,
        certificate: Arc<WorkloadCertificate>,
        peer: Peer,
    ) -> BoxFuture<'static, Dialled<Tunnel>> {
        let (netns, identity) = (self.netns.clone(), self.identity.clone());
        let (metrics, drain) = (self.metrics.clone(), self.drain);
        async move {
            let (dialed, vouched) = dial(&netns, &certificate, &peer).await?;
            metrics.tunnels_opened.inc();
            let tunnel = Tunnel::new(&dialed, vouched, &certificate);
            let renewals = identity.renewals();
            let driver: Driver<Tunnel> =
                Box::new(move |member| drive(dialed, member, peer, renewals, drain).boxed());
            Ok((tunnel, driver))
        }
        .boxed()
    }

    fn is_usable(tunnel: &Tunnel, certificate: &Arc<WorkloadCertificate>) -> bool {
        tunnel.usable(certificate)
    }

    async fn connect(
        tunnel: &Lease<Tunnel>,
        peer: &Peer,
        connection: &Connect<'_>,
    ) -> Result<H2Stream, NotTaken> {
        connect(tunnel, peer, connection).await
    }
}
