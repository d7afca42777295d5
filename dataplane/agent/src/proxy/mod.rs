//! The node's proxies as the agent asks them, by the sockets they serve in the run directory.
mod carried;
mod socket;

pub use carried::Carried;
pub use socket::Question;
