//! What this proxy tells about its connections.
pub mod facts;
pub mod labels;
pub mod metrics;
mod policies;
mod traffic;

pub use traffic::Counted;
