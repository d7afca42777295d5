//! The node's proxies as the agent asks them, by the sockets they serve in the run directory.
mod observations;
mod socket;

pub use observations::{ProxyObservations, Seen};
pub use socket::{Answered, Question};
