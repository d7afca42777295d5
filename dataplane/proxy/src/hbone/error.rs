//! Why a connection got no stream through a tunnel.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::dial::DialError;

/// From the first try to the peer's answer; the peer itself gives the application five seconds.
pub const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// All who waited for the dial hear of the one error.
    #[error(transparent)]
    Dial(#[from] Arc<DialError>),
    #[error("HTTP/2 with {0}: {1}")]
    Http(SocketAddr, h2::Error),
    #[error("{0} answered {1}")]
    Refused(SocketAddr, StatusCode),
    #[error("the target cannot be written as a request: {0}")]
    Request(#[from] http::Error),
    #[error("{0} did not answer within {limit} s", limit = OPEN_LIMIT.as_secs())]
    TimedOut(SocketAddr),
}
