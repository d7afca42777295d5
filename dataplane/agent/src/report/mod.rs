//! What was done, as `MeshNode.status` says it.
mod proxy;
mod status_store;
mod writer;

pub use proxy::watch_proxies;
pub use status_store::{NotWritten, PodCondition, PodReport, StatusStore};
pub use writer::write;

pub use crate::mesh_node::{
    CniStatus, Condition, ConditionStatus, MeshNodeStatus, PodState, PodStatus, ProxyStatus, now,
};
