//! Kubernetes objects → the views. Pure.
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Deserialize;
use serde_json::from_value;

use super::probes::probe_ports;
use super::view::{MODE_LABEL, MeshView, NamespaceView, PodView};
use crate::sockets::Policy;

pub fn mesh_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("mesh.tulle.dev", "v1alpha1", "Mesh"),
        "meshes",
    )
}

pub fn mesh_node_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("mesh.tulle.dev", "v1alpha1", "MeshNode"),
        "meshnodes",
    )
}

/// `None` for an object without a UID, which the API server never sends.
pub fn pod_view(pod: &Pod) -> Option<PodView> {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let mut ips: Vec<IpAddr> = status
        .and_then(|status| status.pod_ips.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ip.parse().ok())
        .collect();
    if ips.is_empty() {
        ips.extend(
            status
                .and_then(|status| status.pod_ip.as_ref())
                .and_then(|ip| ip.parse::<IpAddr>().ok()),
        );
    }
    Some(PodView {
        uid: pod.uid()?,
        namespace: pod.namespace()?,
        name: pod.name_any(),
        service_account: spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        ips,
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        mode: pod.labels().get(MODE_LABEL).cloned(),
        has_ended: matches!(
            status.and_then(|status| status.phase.as_deref()),
            Some("Succeeded" | "Failed")
        ),
        probe_ports: spec.map(probe_ports).unwrap_or_default(),
    })
}

pub fn namespace_view(labels: &std::collections::BTreeMap<String, String>) -> NamespaceView {
    NamespaceView {
        mode: labels.get(MODE_LABEL).cloned(),
    }
}

/// `None` while the Mesh is being deleted. One that cannot be used changes nothing: what was in force, `last`, stays.
pub fn mesh_view(mesh: &DynamicObject, last: Option<MeshView>) -> Option<MeshView> {
    if mesh.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let default = MeshView::default();
    let spec = mesh.data.get("spec").filter(|spec| !spec.is_null());
    let spec: MeshSpec = match spec
        .cloned()
        .map_or_else(|| Ok(MeshSpec::default()), from_value)
    {
        Ok(spec) => spec,
        Err(err) => {
            tracing::warn!(%err, "the Mesh cannot be parsed, the last one stays in force");
            return Some(last.unwrap_or(default));
        }
    };
    if let Some(last) = last.filter(|_| !spec.is_of_this_version()) {
        tracing::warn!(version = ?spec.version, engine = ?spec.node.engine, "the Mesh is not one of this version, the last one stays in force");
        return Some(last);
    }
    let existing = spec.enrolment.existing_connections;
    Some(MeshView {
        existing_connections: match existing.policy {
            ExistingPolicy::End => Policy::End {
                grace: Duration::from_secs(existing.grace_seconds.unwrap_or(30)),
            },
            ExistingPolicy::Keep => Policy::Keep,
        },
        drain: spec
            .node
            .drain_seconds
            .map_or(default.drain, Duration::from_secs),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MeshSpec {
    version: Option<String>,
    enrolment: EnrolmentSpec,
    node: NodeSpec,
}

impl MeshSpec {
    /// The operator says `Accepted=False` of others.
    fn is_of_this_version(&self) -> bool {
        let version = self.version.as_deref();
        version.is_none_or(|version| version == env!("CARGO_PKG_VERSION"))
            && self
                .node
                .engine
                .as_deref()
                .is_none_or(|engine| engine == "Tulle")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EnrolmentSpec {
    existing_connections: ExistingConnections,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExistingConnections {
    policy: ExistingPolicy,
    grace_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
enum ExistingPolicy {
    #[default]
    End,
    Keep,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    engine: Option<String>,
    drain_seconds: Option<u64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mesh(spec: serde_json::Value) -> DynamicObject {
        let mut mesh = DynamicObject::new("default", &mesh_resource());
        mesh.data = json!({ "spec": spec });
        mesh
    }

    #[test]
    fn an_empty_mesh_has_the_defaults() {
        assert_eq!(mesh_view(&mesh(json!({})), None), Some(MeshView::default()));
        assert_eq!(
            mesh_view(&mesh(json!(null)), None),
            Some(MeshView::default())
        );
    }

    #[test]
    fn the_policy_for_existing_connections_is_read() {
        let view = mesh_view(
            &mesh(json!({
                "enrolment": { "existingConnections": { "policy": "End", "graceSeconds": 5 } },
                "node": { "drainSeconds": 7, "engine": "Tulle" },
                "mtls": { "mode": "Strict" },
            })),
            None,
        )
        .unwrap();
        assert_eq!(
            view.existing_connections,
            Policy::End {
                grace: Duration::from_secs(5)
            }
        );
        assert_eq!(view.drain, Duration::from_secs(7));
        let keep = mesh_view(
            &mesh(json!({ "enrolment": { "existingConnections": { "policy": "Keep" } } })),
            None,
        )
        .unwrap();
        assert_eq!(keep.existing_connections, Policy::Keep);
    }

    #[test]
    fn a_mesh_that_cannot_be_used_changes_nothing() {
        let last = MeshView {
            existing_connections: Policy::Keep,
            drain: Duration::from_secs(7),
        };
        for spec in [
            json!({ "version": "9.9.9" }),
            json!({ "node": { "engine": "Ztunnel", "drainSeconds": 1 } }),
            json!({ "enrolment": { "existingConnections": { "policy": "Sometimes" } } }),
            json!({ "node": { "drainSeconds": "soon" } }),
        ] {
            assert_eq!(
                mesh_view(&mesh(spec.clone()), Some(last)),
                Some(last),
                "{spec}"
            );
        }
        let own = json!({ "version": env!("CARGO_PKG_VERSION") });
        assert_eq!(mesh_view(&mesh(own), Some(last)), Some(MeshView::default()));
        // The first one is used for what can be read of it.
        let first = json!({ "version": "9.9.9", "node": { "drainSeconds": 7 } });
        let view = mesh_view(&mesh(first), None).unwrap();
        assert_eq!(view.drain, Duration::from_secs(7));
    }

    #[test]
    fn a_mesh_that_is_being_deleted_is_none() {
        let mut going = mesh(json!({}));
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(mesh_view(&going, None), None);
    }

    #[test]
    fn a_pod_is_read_as_the_api_server_writes_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "uid": "u1", "name": "cart-1", "namespace": "shop", "labels": { "mesh.tulle.dev/mode": "ambient" } },
            "spec": { "containers": [], "serviceAccountName": "cart" },
            "status": { "phase": "Running", "podIP": "10.244.1.3", "podIPs": [{ "ip": "10.244.1.3" }, { "ip": "fd00::3" }] },
        }))
        .unwrap();
        let view = pod_view(&pod).unwrap();
        assert_eq!(
            (view.uid.as_str(), view.service_account.as_str()),
            ("u1", "cart")
        );
        assert_eq!(
            view.ips,
            [
                "10.244.1.3".parse::<IpAddr>().unwrap(),
                "fd00::3".parse().unwrap()
            ]
        );
        assert_eq!(view.mode.as_deref(), Some("ambient"));
        assert!(!view.host_network && !view.has_ended);
    }
}
