//! Layer 4 policy: who may connect to a workload.
mod evaluate;
mod rule;

pub use evaluate::{Connection, Decision, Effect, evaluate};
pub use rule::{Action, Match, Policy, Scope, ServiceAccountMatch, StringMatch};

#[cfg(test)]
mod oracle_test;
