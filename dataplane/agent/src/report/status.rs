use k8s_openapi::jiff::Timestamp;
use tulle_mesh_node::PodStatus;

use crate::cluster::PodView;

impl From<PodStatus> for PodView {
    fn from(status: PodStatus) -> Self {
        Self {
            uid: status.uid,
            namespace: status.namespace,
            name: status.name,
            service_account: status.service_account,
            ips: status.ips,
            ..Self::default()
        }
    }
}

/// The time now, RFC 3339 in whole seconds.
pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second())
        .unwrap_or_default()
        .to_string()
}
