//! `MeshNode.status` as it stands on the API server.
use k8s_openapi::jiff::Timestamp;
pub use tulle_mesh_node::{
    AgentStatus, CniStatus, Condition, ConditionStatus, MeshNodeStatus, PodState, PodStatus,
    ProxyStatus,
};

/// The time now, RFC 3339 in whole seconds.
pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second())
        .unwrap_or_default()
        .to_string()
}
