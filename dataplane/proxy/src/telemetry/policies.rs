//! Counters by policy, for as long as there is the policy.
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

use super::traffic::KEPT;
use crate::lock::lock;
use crate::state::Snapshot;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabel {
    policy: String,
}

#[derive(Default)]
pub struct ByPolicy {
    family: Family<PolicyLabel, Counter>,
    /// When each was counted last.
    counted: Mutex<HashMap<String, Instant>>,
}

impl ByPolicy {
    /// What is registered.
    pub fn family(&self) -> Family<PolicyLabel, Counter> {
        self.family.clone()
    }

    /// Counts one of a policy; of none where no policy allows.
    pub fn count(&self, policy: Option<&str>) {
        let label = PolicyLabel {
            policy: policy.unwrap_or("none allows").to_owned(),
        };
        let mut counted = lock(&self.counted);
        if let Some(policy) = policy {
            match counted.get_mut(policy) {
                Some(at) => *at = Instant::now(),
                None => drop(counted.insert(policy.to_owned(), Instant::now())),
            }
        }
        // With the lock held: what is being counted is not being dropped.
        self.family.get_or_create(&label).inc();
    }

    pub fn forget_gone(&self, mesh: &Snapshot) {
        let now = Instant::now();
        let there: HashSet<&str> = mesh.policies().map(|policy| policy.name.as_str()).collect();
        let mut counted = lock(&self.counted);
        let gone = counted.extract_if(|policy, at| {
            !there.contains(policy.as_str()) && now.saturating_duration_since(*at) >= KEPT
        });
        for (policy, _) in gone {
            self.family.remove(&PolicyLabel { policy });
        }
    }
}
