//! The node's secure overlay: it serves every enrolled pod of its node in the pod's own
//! network namespace, tunnels its connections in mutual TLS, and enforces layer 4 policy.
pub mod admin;
pub mod config;
pub mod connection;
#[cfg(test)]
mod fuzz;
pub mod identity;
pub mod inbound;
pub mod inpod;
mod lock;
pub mod logging;
pub mod outbound;
pub mod pod;
pub mod policy;
pub mod resource;
pub mod rotation;
pub mod route;
pub mod run;
pub mod serve;
pub mod shared;
pub mod spiffe;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod tunnel;
pub mod xds;
pub mod zds;
