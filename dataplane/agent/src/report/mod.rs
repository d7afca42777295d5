//! What was done, as `MeshNode.status` says it.
mod board;
mod proxy;
mod status;
mod writer;

pub use board::{Board, NotWritten, PodReport, Standing};
pub use proxy::watch_proxies;
pub use status::now;
pub use tulle_mesh_node::{CniStatus, MeshNodeStatus, PodState, PodStatus};
pub use writer::{jittered, write};
