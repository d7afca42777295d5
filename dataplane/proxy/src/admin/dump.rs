//! What this proxy holds, for people: never a key or a token.
use std::time::SystemTime;

use serde::Serialize;

use crate::identity::manager::CertificateManager;
use crate::policy::Policy;
use crate::serve::{PodManager, Served};
use crate::shared::Shared;
use crate::state::{Protocol, Service, Unreadable, Workload};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDump {
    version: &'static str,
    node: String,
    trust_domain: String,
    control: String,
    xds: XdsDump,
    agent_connected: bool,
    pods: Vec<PodDump>,
    certificates: Vec<CertificateDump>,
    workloads: Vec<WorkloadDump>,
    services: Vec<ServiceDump>,
    policies: Vec<PolicyDump>,
    /// Workloads and services that have come and cannot be read: why, and which addresses are refused.
    unreadable: Vec<UnreadableDump>,
}

#[derive(Serialize)]
struct XdsDump {
    connected: bool,
    addresses: bool,
    policies: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodDump {
    uid: String,
    name: String,
    namespace: String,
    identity: String,
    connections: usize,
    draining: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateDump {
    identity: String,
    serial: String,
    not_before: String,
    not_after: String,
    roots: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadDump {
    uid: String,
    identity: String,
    addresses: Vec<String>,
    protocol: &'static str,
    enrolling: bool,
    healthy: bool,
    node: String,
    waypoint: Option<String>,
    services: Vec<String>,
    policies: Vec<String>,
}

#[derive(Serialize)]
struct ServiceDump {
    name: String,
    addresses: Vec<String>,
    ports: Vec<(u16, u16)>,
    endpoints: Vec<String>,
    waypoint: Option<String>,
}

#[derive(Serialize)]
struct UnreadableDump {
    name: String,
    reason: String,
    addresses: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyDump {
    name: String,
    scope: String,
    action: String,
    dry_run: bool,
    /// As the evaluation holds them.
    rules: Vec<String>,
    /// Why it cannot be read.
    unreadable: Option<String>,
}

impl ConfigDump {
    pub fn new(shared: &Shared, pods: &PodManager) -> Self {
        let synced = *shared.synced.borrow();
        let mesh = shared.state.read();
        let mut workloads: Vec<_> = mesh.workloads().map(|w| workload(w)).collect();
        workloads.sort_by(|a, b| a.uid.cmp(&b.uid));
        let mut services: Vec<_> = mesh
            .services()
            .map(|s| service(s, mesh.endpoints(&s.id).map(|w| w.uid.clone()).collect()))
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let mut policies: Vec<_> = mesh.policies().map(|p| policy(p)).collect();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        let mut unreadable: Vec<_> = mesh.all_unreadable().map(|u| unreadable(u)).collect();
        unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        drop(mesh);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            node: shared.config.node_name.clone(),
            trust_domain: shared.config.trust_domain.to_string(),
            control: shared.config.control.to_string(),
            xds: XdsDump {
                connected: synced.connected,
                addresses: synced.addresses,
                policies: synced.policies,
            },
            agent_connected: pods.agent_connected(),
            pods: pods.served().into_iter().map(pod).collect(),
            certificates: certificates(&shared.certificates),
            workloads,
            services,
            policies,
            unreadable,
        }
    }
}

fn pod(pod: Served) -> PodDump {
    PodDump {
        uid: pod.uid,
        name: pod.name,
        namespace: pod.namespace,
        identity: pod.identity.to_string(),
        connections: pod.connections,
        draining: pod.draining,
    }
}

fn certificates(manager: &CertificateManager) -> Vec<CertificateDump> {
    let slots = manager.in_use().into_iter();
    let current = slots.filter_map(|slot| slot.current());
    let mut dumps: Vec<_> = current
        .map(|certificate| CertificateDump {
            identity: certificate.identity().to_string(),
            serial: certificate.validity().serial.clone(),
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
            roots: certificate.root_set().len(),
        })
        .collect();
    dumps.sort_by(|a, b| a.identity.cmp(&b.identity));
    dumps
}

fn workload(workload: &Workload) -> WorkloadDump {
    WorkloadDump {
        uid: workload.uid.clone(),
        identity: workload.identity.to_string(),
        addresses: workload.addresses.iter().map(ToString::to_string).collect(),
        protocol: match workload.protocol {
            Protocol::Hbone => "HBONE",
            Protocol::Plaintext => "NONE",
        },
        enrolling: workload.is_enrolling(),
        healthy: workload.healthy,
        node: workload.node.clone(),
        waypoint: workload
            .waypoint
            .as_ref()
            .map(|waypoint| format!("{waypoint:?}")),
        services: workload.services.keys().map(ToString::to_string).collect(),
        policies: workload.policies.clone(),
    }
}

fn service(service: &Service, endpoints: Vec<String>) -> ServiceDump {
    let mut ports: Vec<_> = service
        .ports
        .iter()
        .map(|(port, target)| (*port, *target))
        .collect();
    ports.sort_unstable();
    ServiceDump {
        name: service.id.to_string(),
        addresses: service
            .addresses
            .iter()
            .map(|address| address.ip.to_string())
            .collect(),
        ports,
        endpoints,
        waypoint: service
            .waypoint
            .as_ref()
            .map(|waypoint| format!("{waypoint:?}")),
    }
}

fn policy(policy: &Policy) -> PolicyDump {
    PolicyDump {
        name: policy.name.clone(),
        scope: format!("{:?}", policy.scope),
        action: format!("{:?}", policy.action),
        dry_run: policy.dry_run,
        rules: policy
            .rules
            .iter()
            .map(|rule| format!("{rule:?}"))
            .collect(),
        unreadable: policy.unreadable.clone(),
    }
}

fn unreadable(unreadable: &Unreadable) -> UnreadableDump {
    let mut addresses: Vec<_> = unreadable
        .claims()
        .iter()
        .map(|claim| claim.ip.to_string())
        .collect();
    addresses.sort_unstable();
    UnreadableDump {
        name: unreadable.name().to_owned(),
        reason: unreadable.reason().to_owned(),
        addresses,
    }
}

/// RFC 3339 in UTC, whole seconds. Civil date from days since 1970 after H. Hinnant's algorithm.
pub fn timestamp(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(
                timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                text
            );
        }
    }
}
