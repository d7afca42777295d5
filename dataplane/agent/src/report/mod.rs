//! What was done, as `MeshNode.status` says it.
mod board;
mod proxy;
mod writer;

pub use board::{Board, NotWritten, PodReport, Standing};
pub use proxy::watch_proxies;
pub use writer::write;

pub use crate::mesh_node::{
    CniStatus, Condition, ConditionStatus, MeshNodeStatus, PodState, PodStatus, ProxyStatus, now,
};
