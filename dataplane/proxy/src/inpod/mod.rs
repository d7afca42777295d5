//! Sockets in pods' network namespaces.
pub mod netns;
pub mod original;
pub mod socket;
