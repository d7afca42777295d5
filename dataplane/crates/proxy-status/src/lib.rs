//! What a proxy tells its node's agent, and what the agent orders: JSON over HTTP/1 on a unix socket that each proxy
//! serves in the run directory. During an upgrade proxies and agents of two versions talk to each other: what came
//! later has a default.
mod existing;
mod status;

use std::path::{Path, PathBuf};

pub use existing::{EndExistingConnections, Ended};
pub use status::{NotReady, Status, Workload, WorkloadState};

/// Where in the run directory proxies serve.
pub const DIRECTORY: &str = "proxies";
/// How the names of their sockets end.
pub const SOCKET_SUFFIX: &str = ".sock";
/// GET: a [`Status`].
pub const STATUS_PATH: &str = "/status";
/// POST of [`EndExistingConnections`]: [`Ended`].
pub const END_EXISTING_PATH: &str = "/connections/existing/end";

/// The socket of the proxy that runs in the pod of this name.
pub fn socket(run_dir: &Path, pod_name: &str) -> PathBuf {
    run_dir
        .join(DIRECTORY)
        .join(format!("{pod_name}{SOCKET_SUFFIX}"))
}
