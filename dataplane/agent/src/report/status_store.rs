use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::cluster::PodView;
use crate::mesh_node::{
    AgentStatus, CniStatus, Condition, ConditionStatus, MeshNodeStatus, PodState, PodStatus,
    ProxyStatus, now,
};
use tokio::sync::watch;

/// How a pod stands, as its worker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReport {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub ips: Vec<IpAddr>,
    pub captured: bool,
    pub condition: PodCondition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCondition {
    pub state: PodState,
    pub reason: String,
    pub message: String,
    pub existing_connections: usize,
}

impl PodReport {
    pub fn new(pod: &PodView, captured: bool, condition: PodCondition) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            service_account: pod.service_account.clone(),
            ips: pod.ips.clone(),
            captured,
            condition,
        }
    }
}

impl PodCondition {
    pub fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self {
            state: PodState::Failed,
            reason: reason.to_owned(),
            message: message.into(),
            existing_connections: 0,
        }
    }

    pub fn pending(reason: &str, message: impl Into<String>) -> Self {
        Self {
            state: PodState::Pending,
            ..Self::failed(reason, message)
        }
    }

    pub fn opted_out(reason: &str, message: impl Into<String>) -> Self {
        Self {
            state: PodState::OptedOut,
            ..Self::failed(reason, message)
        }
    }

    pub fn secured() -> Self {
        Self {
            state: PodState::Secured,
            ..Self::failed("Secured", "")
        }
    }
}

/// A change was not stored on the API server in time; it will be later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change is not stored yet")]
pub struct NotWritten;

/// The node's status as it should be stored. Whoever has something to say
/// changes it; the writer (`writer.rs`) stores the newest whole.
pub struct StatusStore {
    content: Mutex<Content>,
    revision: watch::Sender<u64>,
    written: watch::Sender<Written>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    revision: u64,
    /// There was a MeshNode to store it in.
    stored: bool,
}

struct Content {
    status: MeshNodeStatus,
    pods: BTreeMap<String, PodStatus>,
}

impl StatusStore {
    pub fn new(version: &str) -> Self {
        let agent = Some(AgentStatus {
            version: version.to_owned(),
        });
        let status = MeshNodeStatus {
            agent,
            ..MeshNodeStatus::default()
        };
        Self {
            content: Mutex::new(Content {
                status,
                pods: BTreeMap::new(),
            }),
            revision: watch::Sender::new(0),
            written: watch::Sender::new(Written::default()),
        }
    }

    /// Goes on from what an agent before this one reported, so that the first
    /// write does not take back what still holds.
    pub fn resume(&self, before: MeshNodeStatus) {
        self.change(|content| {
            content
                .pods
                .extend(before.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
            content.status.conditions = before.conditions;
        });
    }

    /// Sets a pod's entry; returns the revision that holds it.
    pub fn set_pod(&self, uid: &str, report: PodReport) -> u64 {
        self.change(|content| {
            let since = match content.pods.get(uid) {
                Some(before) if before.state == report.condition.state => before.since.clone(),
                _ => now(),
            };
            content
                .pods
                .insert(uid.to_owned(), entry(uid, report, since));
        })
    }

    pub fn remove_pod(&self, uid: &str) -> u64 {
        self.change(|content| {
            content.pods.remove(uid);
        })
    }

    /// Removes every pod `keep` does not know.
    pub fn retain_pods(&self, keep: impl Fn(&str) -> bool) {
        self.change(|content| content.pods.retain(|uid, _| keep(uid)));
    }

    pub fn pod(&self, uid: &str) -> Option<PodStatus> {
        self.with(|content| content.pods.get(uid).cloned())
    }

    pub fn pods(&self) -> Vec<PodStatus> {
        self.with(|content| content.pods.values().cloned().collect())
    }

    pub fn set_proxy(&self, proxy: Option<ProxyStatus>) {
        self.change(|content| content.status.proxy = proxy);
    }

    pub fn set_cni(&self, cni: CniStatus) {
        self.change(|content| content.status.cni = Some(cni));
    }

    /// Sets a condition; its transition time moves only with its status.
    pub fn set_condition(&self, kind: &str, holds: bool, reason: &str, message: &str) -> u64 {
        self.change(|content| {
            let status = match holds {
                true => ConditionStatus::True,
                false => ConditionStatus::False,
            };
            let since = match content.status.condition(kind) {
                Some(before) if before.status == status => before.last_transition_time.clone(),
                _ => now(),
            };
            content
                .status
                .conditions
                .retain(|condition| condition.kind != kind);
            content.status.conditions.push(Condition {
                kind: kind.to_owned(),
                status,
                reason: reason.to_owned(),
                message: message.to_owned(),
                observed_generation: None,
                last_transition_time: since,
            });
            content
                .status
                .conditions
                .sort_by(|one, other| one.kind.cmp(&other.kind));
        })
    }

    /// The whole status and its revision.
    pub fn status(&self) -> (u64, MeshNodeStatus) {
        self.with(|content| {
            let pods: Vec<PodStatus> = content.pods.values().cloned().collect();
            (
                *self.revision.borrow(),
                content.status.clone().with_pods(pods),
            )
        })
    }

    /// Changes with the content.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits until `revision` is stored. `Ok(false)`: there is no MeshNode,
    /// so nobody is told anything.
    pub async fn written(&self, revision: u64, limit: Duration) -> Result<bool, NotWritten> {
        let mut written = self.written.subscribe();
        let outcome = tokio::time::timeout(
            limit,
            written.wait_for(|written| written.revision >= revision),
        )
        .await;
        match outcome {
            Ok(Ok(written)) => Ok(written.stored),
            _ => Err(NotWritten),
        }
    }

    /// The writer's word: everything up to `revision` is stored, or there is nowhere to store it.
    pub(super) fn mark_written(&self, revision: u64, stored: bool) {
        self.written.send_replace(Written { revision, stored });
    }

    fn change(&self, apply: impl FnOnce(&mut Content)) -> u64 {
        self.with(|content| {
            apply(content);
            // Within the lock: a revision always names the content that goes with it.
            self.revision.send_modify(|revision| *revision += 1);
            *self.revision.borrow()
        })
    }

    fn with<T>(&self, use_content: impl FnOnce(&mut Content) -> T) -> T {
        let mut content = self
            .content
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        use_content(&mut content)
    }
}

fn entry(uid: &str, report: PodReport, since: String) -> PodStatus {
    PodStatus {
        uid: uid.to_owned(),
        namespace: report.namespace,
        name: report.name,
        service_account: report.service_account,
        ips: report.ips,
        captured: report.captured,
        state: report.condition.state,
        reason: report.condition.reason,
        message: report.condition.message,
        existing_connections: report.condition.existing_connections,
        since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(captured: bool, condition: PodCondition) -> PodReport {
        PodReport::new(
            &PodView {
                name: "cart".into(),
                ..PodView::default()
            },
            captured,
            condition,
        )
    }

    #[test]
    fn since_moves_with_the_state_only() {
        let store = StatusStore::new("1");
        let long_ago = "2020-01-01T00:00:00Z";
        store.set_pod("a", report(true, PodCondition::pending("Captured", "")));
        let mut before = store.status().1;
        before.pods[0].since = long_ago.into();
        store.resume(before);
        store.set_pod(
            "a",
            report(
                true,
                PodCondition::pending("ExistingConnections", "2 connections"),
            ),
        );
        assert_eq!(store.pod("a").unwrap().since, long_ago);
        store.set_pod("a", report(true, PodCondition::secured()));
        assert_ne!(store.pod("a").unwrap().since, long_ago);
    }

    #[test]
    fn a_conditions_time_moves_with_its_status_only() {
        let store = StatusStore::new("1");
        store.set_condition("Ready", false, "NoProxy", "");
        let mut before = store.status().1;
        before.conditions[0].last_transition_time = "2020-01-01T00:00:00Z".into();
        store.resume(before);
        store.set_condition("Ready", false, "CniNotInstalled", "");
        assert_eq!(
            store.status().1.conditions[0].last_transition_time,
            "2020-01-01T00:00:00Z"
        );
        store.set_condition("Ready", true, "Ready", "");
        assert_ne!(
            store.status().1.conditions[0].last_transition_time,
            "2020-01-01T00:00:00Z"
        );
    }

    #[test]
    fn the_status_counts_by_state_and_keeps_the_limits_of_its_kind() {
        let store = StatusStore::new("1");
        store.set_pod("a", report(true, PodCondition::secured()));
        store.set_pod(
            "b",
            report(false, PodCondition::failed("NoProxy", "x".repeat(5000))),
        );
        store.set_pod("c", report(false, PodCondition::opted_out("PodLabel", "")));
        let status = store.status().1;
        let counts = serde_json::to_value(status.counts).unwrap();
        let expected =
            serde_json::json!({ "secured": 1, "pending": 0, "failed": 1, "optedOut": 1 });
        assert_eq!(counts, expected);
        assert_eq!(
            serde_json::to_value(status.pods[2].state).unwrap(),
            "OptedOut"
        );
        assert_eq!(status.pods[1].message.len(), 1024);
    }
}
