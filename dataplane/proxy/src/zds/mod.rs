//! The conversation with the agent: which pods are ours, and their network namespaces.
mod session;

pub use session::{Handler, run};
pub use tulle_zds::{Handed, Pod, Refusal, RefusalReason};
