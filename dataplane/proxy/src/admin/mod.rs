//! What this proxy answers about itself.
pub mod dump;
pub mod http;
pub mod status;
