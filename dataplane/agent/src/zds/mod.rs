//! ZDS: how the agent hands pods to the proxies of its node (proto/zds).
//!
//! [`Proxies`] holds what should be handed over and what each proxy holds;
//! each connection's task (`connection.rs`) brings the second to the first:
//! many requests at once where the proxy answers them in any order, else one
//! after the other. The states are drawn in docs/adr/0017.
mod connection;
mod handover;
mod proxies;
mod requests;
mod server;

pub use handover::{Handover, Serving};
pub use proxies::Proxies;
pub use server::serve;
