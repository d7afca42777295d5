//! The node's proxies as the agent asks them, by the sockets they serve in the run directory.
mod sightings;
mod socket;

pub use sightings::{Seen, Sightings};
pub use socket::{Answered, Question};
