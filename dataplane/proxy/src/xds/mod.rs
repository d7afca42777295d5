//! The control plane's view of the mesh, kept up to date.
mod client;
mod known;
mod protobuf;
mod resource;
mod salvage;

pub use client::{Synced, XdsClient};
