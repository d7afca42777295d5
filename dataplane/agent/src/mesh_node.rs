//! `MeshNode.status` as it stands on the API server (see crds/meshnode.yaml, whose limits these keep).
use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Pods a MeshNode can list.
const MAX_PODS: usize = 1024;
/// Characters of a message.
const MAX_MESSAGE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodState {
    Secured,
    Pending,
    Failed,
    /// Outside the mesh by its own label, in a namespace that is in it.
    OptedOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    pub captured: bool,
    pub state: PodState,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub older_connections: usize,
    /// RFC 3339: when `state` was reached.
    pub since: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatus {
    pub version: String,
    pub ready: bool,
    #[serde(default)]
    pub trust_bundle_sha256: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniStatus {
    pub installed: bool,
    #[serde(default)]
    pub configuration_file: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub version: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub secured: usize,
    pub pending: usize,
    pub failed: usize,
    #[serde(default)]
    pub opted_out: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeshNodeStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    pub pods: Vec<PodStatus>,
    pub conditions: Vec<Condition>,
}

impl MeshNodeStatus {
    /// Sets the pods within the limits of the kind, and counts them all.
    pub fn with_pods(mut self, pods: impl IntoIterator<Item = PodStatus>) -> Self {
        let mut counts = Counts::default();
        let mut kept = Vec::new();
        for mut pod in pods {
            match pod.state {
                PodState::Secured => counts.secured += 1,
                PodState::Pending => counts.pending += 1,
                PodState::Failed => counts.failed += 1,
                PodState::OptedOut => counts.opted_out += 1,
            }
            pod.message = shortened(&pod.message);
            kept.push(pod);
        }
        kept.truncate(MAX_PODS);
        self.pods = kept;
        self.counts = Some(counts);
        self
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// The time now, RFC 3339 in whole seconds.
pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second())
        .unwrap_or_default()
        .to_string()
}
