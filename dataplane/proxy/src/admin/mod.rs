//! What this proxy answers about itself.
pub mod dump;
pub mod status;
