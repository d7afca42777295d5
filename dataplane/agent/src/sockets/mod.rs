//! TCP sockets of a network namespace, by the kernel's `sock_diag` (netlink):
//! who listens, which connections are older than the rules, ending those.
mod classify;
mod conntrack;
mod diag;
mod existing;
mod netlink;
mod wire;

pub use classify::{Connections, Listening, connections, listening, proxy_sockets};
pub use conntrack::Conntrack;
pub use diag::{Sockets, destroy, dump};
pub use existing::{ConnectionTracker, Findings, Policy};
pub use wire::{SocketId, State, TcpSocket};
