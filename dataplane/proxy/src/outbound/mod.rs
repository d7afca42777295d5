//! Connections the pod's applications make.
mod affinity;
mod balance;
mod connection;
mod resolve;

pub use affinity::Affinity;
pub use connection::serve;
pub use resolve::in_mesh;
