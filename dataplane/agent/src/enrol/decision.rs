//! Which pods should be in the mesh. Pure.
use tulle_names::{MODE_AMBIENT, MODE_NONE, may_be_enrolled};

use crate::cluster::{NamespaceView, PodView};

/// What should become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody asked for it, or it can never be.
    NotInMesh,
    /// It is asked for, and cannot be: it shares the node's network.
    HostNetwork,
    /// Its own label says something that means nothing, and its namespace does not ask for it.
    UnknownMode,
    /// Its namespace is in the mesh, and its own label takes it out.
    OptedOut,
    Enrol,
    /// It has run to its end, or was never started.
    Ended,
}

/// Decides from the pod's label, else its namespace's; `mesh` is whether there
/// is a Mesh to be in. A pod's label with a typing error decides nothing: it
/// does not take the pod out of its namespace's mesh.
pub fn decide(pod: &PodView, namespace: &NamespaceView, mesh: bool) -> Decision {
    if pod.has_ended {
        return Decision::Ended;
    }
    let own = pod.mode.as_deref();
    let known = own.filter(|mode| [MODE_AMBIENT, MODE_NONE].contains(mode));
    let inherited = namespace.mode.as_deref();
    let asked_for = known.or(inherited) == Some(MODE_AMBIENT);
    if !mesh || !may_be_enrolled(&pod.namespace) {
        Decision::NotInMesh
    } else if asked_for && pod.host_network {
        Decision::HostNetwork
    } else if asked_for {
        Decision::Enrol
    } else if own != known {
        Decision::UnknownMode
    } else if own == Some(MODE_NONE) && inherited == Some(MODE_AMBIENT) {
        Decision::OptedOut
    } else {
        Decision::NotInMesh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(mode: Option<&str>) -> PodView {
        PodView {
            namespace: "shop".into(),
            name: "cart".into(),
            uid: "u".into(),
            mode: mode.map(str::to_owned),
            ..PodView::default()
        }
    }

    fn namespace(mode: Option<&str>) -> NamespaceView {
        NamespaceView {
            mode: mode.map(str::to_owned),
        }
    }

    /// A line of the table that control is held to, too.
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Case {
        pod_label: Option<String>,
        namespace_label: Option<String>,
        namespace: Option<String>,
        #[serde(default)]
        host_network: bool,
        #[serde(default)]
        has_ended: bool,
        decision: String,
    }

    #[test]
    fn it_decides_as_the_table_says_that_control_is_held_to_too() {
        let table = include_str!("../../../../test/cases/membership.json");
        let cases: Vec<Case> = serde_json::from_str(table).unwrap();
        for case in cases {
            let pod = PodView {
                namespace: case.namespace.unwrap_or_else(|| "shop".into()),
                host_network: case.host_network,
                has_ended: case.has_ended,
                ..pod(case.pod_label.as_deref())
            };
            let decision = decide(&pod, &namespace(case.namespace_label.as_deref()), true);
            assert_eq!(format!("{decision:?}"), case.decision, "{pod:?}");
        }
    }

    #[test]
    fn without_a_mesh_nobody_is_in_it() {
        assert_eq!(
            decide(&pod(Some("ambient")), &namespace(None), false),
            Decision::NotInMesh
        );
    }

    #[test]
    fn r40_a_pod_that_opts_out_is_named_whatever_its_network_while_there_is_a_mesh() {
        for host_network in [false, true] {
            let out = PodView {
                host_network,
                ..pod(Some("none"))
            };
            let namespace = namespace(Some("ambient"));
            assert_eq!(decide(&out, &namespace, true), Decision::OptedOut);
            assert_eq!(decide(&out, &namespace, false), Decision::NotInMesh);
        }
    }
}
