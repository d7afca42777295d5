use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A pod's sandbox as the container runtime describes it to CNI plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// `CNI_CONTAINERID`. A pod whose sandbox is made anew gets another.
    pub container_id: String,
    pub namespace: String,
    pub name: String,
    /// The pod's UID, where the runtime tells it (`K8S_POD_UID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The addresses the plugins before us gave the pod.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
pub enum Request {
    /// The sandbox starts; its network namespace is beside the message.
    Add(Sandbox),
    /// The sandbox is over.
    Del(Sandbox),
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase")]
pub enum Response {
    /// The pod is captured and announced: it may start.
    Captured,
    /// The pod is not to be in the mesh: it may start.
    NotEnrolled,
    /// The sandbox is let go.
    Released,
    /// The pod should be in the mesh and is not: it must not start.
    Failed { message: String },
}
