//! The node's proxies as the agent asks them, by the sockets they serve in the run directory.
mod sightings;
mod socket;

pub use sightings::{Sighting, Sightings};
pub use socket::Question;
