//! Connections the pod's applications make.
mod balance;
mod connection;
mod resolve;

pub use connection::serve;
pub use resolve::in_mesh;
