//! Tunnels to peers: who has which, and what every kind of them can do. Another kind is another
//! module beside `hbone`.
mod choice;
mod error;
pub mod hbone;
mod pool;
mod shared;
mod slots;
mod trace;

pub use error::{Cause, DIAL_LIMIT, DialError, NotTaken, TunnelError};
pub use pool::{Pool, TunnelStream};
pub use shared::{Carrier, Lease, Shared};
pub use trace::Trace;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::connection::Side;
use crate::identity::certificate::WorkloadCertificate;
use crate::spiffe::SpiffeId;
use crate::state::Workload;

/// Whom to reach, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub identity: SpiffeId,
    pub address: SocketAddr,
}

/// A connection to be carried.
pub struct Connect<'a> {
    /// Where the peer is to connect on to.
    pub target: SocketAddr,
    /// Whose it is. Told for telemetry only: nothing is decided on it.
    pub workload: Option<&'a Workload>,
    pub source_ip: IpAddr,
    pub trace: &'a Trace,
}

/// A tunnel's place among those to its peer, until dropped.
pub type Member<T> = slots::Member<Peer, T, DialError>;
/// What moves a tunnel's bytes, until the tunnel ends.
pub type Driver<T> = slots::Driver<Peer, T, DialError>;
/// A tunnel that has been dialled, and what will drive it.
pub type Dialled<T> = Result<(T, Driver<T>), DialError>;

/// A kind of tunnel, as one pod has them.
pub trait Kind: Send + Sync + 'static {
    type Tunnel: Carrier;
    /// What goes through a tunnel.
    type Stream: Side;

    /// Makes a tunnel that believes the peer only if it is exactly who it should be. Goes on without
    /// whoever asked for it.
    fn dial(
        &self,
        certificate: Arc<WorkloadCertificate>,
        peer: Peer,
    ) -> BoxFuture<'static, Dialled<Self::Tunnel>>;

    /// Whether a tunnel may be used by who has this certificate now.
    fn is_usable(tunnel: &Self::Tunnel, certificate: &Arc<WorkloadCertificate>) -> bool;

    /// Has a tunnel carry a connection. Who stops waiting gives the place back.
    ///
    /// # Errors
    /// When the tunnel has ended, or the peer refuses.
    fn connect(
        tunnel: &Lease<Self::Tunnel>,
        peer: &Peer,
        connection: &Connect<'_>,
    ) -> impl Future<Output = Result<Self::Stream, NotTaken>> + Send;
}
