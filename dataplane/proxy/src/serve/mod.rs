//! The life of the pods that are served here, and what policy says of their connections meanwhile.
mod listeners;
mod manager;
mod review;
mod roster;
mod takeover;

pub use manager::{PodManager, Served};
pub use review::watch_policies;
