//! The proxy as it runs: the real binary between real network namespaces, with a control plane
//! and an agent made for the test. Needs root, `ip` and `nft`; no cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "the node tests use the rest")]
mod harness;

mod certificates;
mod dials;
mod ends;
mod handover;
mod hostile;
mod identity;
mod leaving;
mod lifecycle;
mod logs;
mod metrics;
mod plaintext;
mod policy;
mod roots;
mod services;
mod stalled;
mod tunnel;
mod unreadable;
