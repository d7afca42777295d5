//! ZDS, by which the agent hands pods to the proxies of its node (proto/zds), as both ends speak it: a proxy says
//! [`Hello`], the agent sends requests, and each is answered. Messages are packets of a unix socket; the descriptors of
//! a pod's network namespace and listeners go beside the request that adds it.
mod answer;
mod hello;
mod request;
mod socket;

pub use answer::{Answer, Refusal, RefusalReason};
pub use hello::Hello;
pub use request::{Handed, Numbered, Pod, Request, add, delete, snapshot_sent};
pub use socket::{Received, SeqPacket};

/// The agent's socket, in the run directory.
pub const SOCKET_NAME: &str = "zds.sock";
/// Longest message, bytes. Longer ones are refused.
pub const MAX_MESSAGE: usize = 1024;

/// Why a message cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("the message cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("the process has no descriptors left to receive one")]
    NoDescriptors,
    #[error("{0} descriptors came where {1} belong")]
    Descriptors(usize, &'static str),
    #[error("the message asks for nothing this proxy knows")]
    Unknown,
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("the proxy speaks version {0}, the agent version 1")]
    Version(i32),
    #[error("the proxy answered without an acknowledgement")]
    NotAnAck,
}
