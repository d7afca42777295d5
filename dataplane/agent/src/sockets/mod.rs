//! TCP sockets of a network namespace, by the kernel's `sock_diag` (netlink):
//! who listens, which connections are older than the rules, ending those.
mod classify;
mod destroy;
mod diag;
mod older;
mod wire;

pub use classify::{Connections, connections, foreign_listener, proxy_sockets};
pub use destroy::destroy;
pub use diag::{Sockets, dump};
pub use older::{Ledger, Policy, Verdict};
pub use wire::{SocketId, State, TcpSocket};
