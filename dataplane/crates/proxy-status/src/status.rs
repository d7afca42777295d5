use std::fmt;

use serde::{Deserialize, Serialize};

/// What a proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub ready: bool,
    /// What is missing.
    #[serde(default)]
    pub not_ready: Option<NotReady>,
    /// It has been told to stop, and serves until its connections have ended.
    #[serde(default)]
    pub draining: bool,
    #[serde(default)]
    pub trust_bundle_sha256: Option<String>,
    #[serde(default)]
    pub workloads: Vec<Workload>,
}

/// Why a proxy is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotReady {
    #[serde(rename = "draining")]
    Draining,
    #[serde(rename = "waiting for the control plane's xDS")]
    WaitsForControl,
    #[serde(rename = "waiting for the agent's pods to be served")]
    WaitsForPods,
    /// What a proxy of another version says.
    #[serde(rename = "unknown", other)]
    Unknown,
}

impl fmt::Display for NotReady {
    /// As in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A pod that a proxy has connections of, or may get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub uid: String,
    #[serde(default)]
    pub identity: String,
    /// RFC 3339.
    #[serde(default)]
    pub certificate_not_after: Option<String>,
    #[serde(flatten)]
    pub state: WorkloadState,
}

/// How a pod's enrolment stands, as a proxy sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadState {
    /// The control plane tells everybody to reach the pod by mutual TLS.
    pub announced: bool,
    /// The control plane tells everybody that the pod is being enrolled; none of a proxy that does not know of it.
    pub enrolling: Option<bool>,
    /// Connections in plaintext with peers that have joined the mesh since.
    pub existing_connections: usize,
    /// The proxy serves it no longer and finishes what is open; counted until the last is closed.
    pub draining: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let state = WorkloadState {
            announced: true,
            enrolling: Some(false),
            existing_connections: 2,
            draining: false,
        };
        let status = Status {
            version: "1".to_owned(),
            ready: false,
            not_ready: Some(NotReady::WaitsForPods),
            draining: false,
            trust_bundle_sha256: None,
            workloads: vec![Workload {
                uid: "u1".to_owned(),
                identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
                certificate_not_after: None,
                state,
            }],
        };
        let json = serde_json::json!({
            "version": "1",
            "ready": false,
            "notReady": "waiting for the agent's pods to be served",
            "draining": false,
            "trustBundleSha256": null,
            "workloads": [{
                "uid": "u1",
                "identity": "spiffe://cluster.local/ns/shop/sa/web",
                "certificateNotAfter": null,
                "announced": true,
                "enrolling": false,
                "existingConnections": 2,
                "draining": false,
            }],
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), json);
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
        let words = NotReady::WaitsForPods.to_string();
        assert_eq!(words, "waiting for the agent's pods to be served");
    }

    #[test]
    fn a_proxy_of_another_version_is_understood_as_far_as_it_goes() {
        let older = r#"{"version":"0","ready":true,"workloads":[{"uid":"u1"}]}"#;
        let older: Status = serde_json::from_str(older).unwrap();
        assert_eq!(older.workloads[0].state, WorkloadState::default());
        let newer = r#"{"version":"2","ready":false,"notReady":"asleep","more":1}"#;
        let newer: Status = serde_json::from_str(newer).unwrap();
        assert_eq!(newer.not_ready, Some(NotReady::Unknown));
    }
}
