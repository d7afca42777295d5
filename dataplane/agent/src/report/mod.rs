//! What was done, as `MeshNode.status` says it.
mod board;
mod proxy;
mod status;
mod writer;

pub use board::{Board, NotWritten, PodReport, Standing};
pub use proxy::watch_proxies;
pub use status::{CniStatus, Condition, MeshNodeStatus, PodState, PodStatus, ProxyStatus, now};
pub use writer::{jittered, write};
