//! Connections the pod's applications make.
mod balance;
mod connection;
mod plaintext;
mod resolve;

pub use connection::serve;
pub use plaintext::Plaintext;
pub use resolve::in_mesh;
