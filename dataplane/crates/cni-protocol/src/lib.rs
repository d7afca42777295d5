//! What `tulle-cni` and `tulle-agent` share: the question and the answer on
//! `cni.sock`, and the file of enrolled namespaces the plugin falls back on.
//!
//! One question a connection. A message is its length (4 bytes, big-endian)
//! and JSON; the descriptor of the pod's network namespace travels beside the
//! length of the question (SCM_RIGHTS).
mod enrolled;
mod message;
mod transport;

pub use enrolled::EnrolledNamespaces;
pub use message::{Request, Response, Sandbox};
pub use transport::{ProtocolError, receive, send};

/// Where the node's sockets are, on the host and in every container that mounts it.
pub const DEFAULT_RUN_DIR: &str = "/run/tulle";
/// The agent's socket in the run directory.
pub const SOCKET_NAME: &str = "cni.sock";
/// The file of enrolled namespaces in the run directory.
pub const ENROLLED_FILE: &str = "enrolled-namespaces.json";
/// The namespace of the mesh's own pods.
pub const SYSTEM_NAMESPACE: &str = "tulle-system";
/// Pods of these namespaces are never enrolled; the mesh itself must be able to start.
pub const NEVER_ENROLLED: [&str; 2] = [SYSTEM_NAMESPACE, "kube-system"];
/// The `type` of our plugin in a CNI configuration, and the name of its binary.
pub const PLUGIN_TYPE: &str = "tulle-cni";

/// Whether pods of `namespace` can be in the mesh at all.
pub fn may_be_enrolled(namespace: &str) -> bool {
    !NEVER_ENROLLED.contains(&namespace)
}
