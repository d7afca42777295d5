//! What the control plane has told us, indexed for the questions connections ask.
pub mod service;
pub mod store;
pub mod unreadable;
pub mod workload;

pub use service::{Service, ServiceName};
pub use store::{Change, MeshState, Snapshot};
pub use unreadable::{Claim, Unreadable};
pub use workload::{Protocol, Workload};

use std::net::IpAddr;

/// An address on a network; networks may reuse addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkIp {
    pub network: String,
    pub ip: IpAddr,
}
