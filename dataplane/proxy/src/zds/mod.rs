//! The agent's socket: which pods are ours, and their network namespaces.
mod message;
mod session;
mod socket;

pub use message::{Handed, Pod, Refusal, Request, ZdsError};
pub use session::{Handler, run};
