//! Redirect rules: what they are (pure), and putting them into a namespace.
mod addresses;
mod apply;
mod node;
mod pod;

pub use addresses::NodeAddresses;
pub use apply::{RuleError, RuleInstaller};
pub use node::{node_table, node_table_removal};
pub use pod::{Phase, PodRules, pod_routes, pod_table, pod_table_removal};
