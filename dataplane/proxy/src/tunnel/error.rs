//! Why a connection did not get through a tunnel.
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// From the first try to the peer's answer; the peer itself gives the application five seconds.
pub const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// For all of a dial: nobody else could end it.
pub const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// What a kind of tunnel says in its own words.
pub type OfItsKind = Box<dyn Error + Send + Sync>;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("TLS with {0}: {1}")]
    Tls(SocketAddr, io::Error),
    #[error("beginning a tunnel to {0}: {1}")]
    Begin(SocketAddr, OfItsKind),
    #[error("a tunnel to {0} took more than {limit} s", limit = DIAL_LIMIT.as_secs())]
    TimedOut(SocketAddr),
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// All who waited for the dial hear of the one error.
    #[error(transparent)]
    Dial(#[from] Arc<DialError>),
    #[error("the tunnel to {0}: {1}")]
    Broken(SocketAddr, OfItsKind),
    #[error("{0} answered {1}")]
    Refused(SocketAddr, String),
    #[error("{0} did not answer within {limit} s", limit = OPEN_LIMIT.as_secs())]
    TimedOut(SocketAddr),
}

/// Why a tunnel that is there did not take a connection.
#[derive(Debug)]
pub struct NotTaken {
    pub error: TunnelError,
    pub cause: Cause,
}

/// What that says of a second try. No byte of the application has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer has looked at the connection, and said no: it would again.
    Connection,
    /// The peer has not looked at it; the tunnel goes on.
    Unseen,
    /// The tunnel takes no more: it has ended, or is ending. In order, where the peer said so.
    Tunnel { in_order: bool },
}
