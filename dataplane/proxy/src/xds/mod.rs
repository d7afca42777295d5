//! The control plane's view of the mesh, kept up to date.
mod client;
mod resource;

pub use client::{Synced, XdsClient};
