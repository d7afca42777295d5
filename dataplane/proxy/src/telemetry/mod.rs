//! What this proxy tells about its connections.
pub mod connection;
pub mod facts;
pub mod labels;
pub mod metrics;
mod policies;
mod traffic;
