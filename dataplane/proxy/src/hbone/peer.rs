//! Who takes tunnels.
use std::net::SocketAddr;

use crate::spiffe::SpiffeId;

/// Whom to reach, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub identity: SpiffeId,
    pub address: SocketAddr,
}
