//! Connections the pod's applications make.
mod connection;

pub use connection::serve;
