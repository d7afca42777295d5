//! Agent, rules and proxy as they are, together on a node of network namespaces, without a cluster:
//! the API server and the control plane are played. Needs root, `nft` and `ip`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../agent/tests/fixture/mod.rs"]
mod fixture;
#[path = "../mesh/harness/mod.rs"]
#[allow(dead_code, reason = "the mesh tests use the rest")]
mod harness;
mod node;

mod attacks;
mod replacement;
mod reuse;
mod traffic;
