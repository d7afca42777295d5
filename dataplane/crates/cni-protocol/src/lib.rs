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

/// The agent's socket in the run directory.
pub const SOCKET_NAME: &str = "cni.sock";
/// The file of enrolled namespaces in the run directory.
pub const ENROLLED_FILE: &str = "enrolled-namespaces.json";
/// The `type` of our plugin in a CNI configuration, and the name of its binary.
pub const PLUGIN_TYPE: &str = "tulle-cni";
