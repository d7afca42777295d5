//! ZDS: how the agent hands pods to the proxies of its node (proto/zds).
//!
//! [`Proxies`] holds what should be handed over and what each proxy holds;
//! each connection's task (`connection.rs`) brings the second to the first,
//! one message at a time.
mod connection;
mod proxies;
mod seqpacket;
mod server;

pub use proxies::{Handover, Proxies, Serving};
pub use seqpacket::SeqPacket;
pub use server::serve;
