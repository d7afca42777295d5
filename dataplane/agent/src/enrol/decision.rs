//! Which pods should be in the mesh. Pure.
use crate::cluster::{NamespaceView, PodView};
use tulle_cni_protocol::may_be_enrolled;

const IN: &str = "ambient";
const OUT: &str = "none";

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
    let known = own.filter(|mode| [IN, OUT].contains(mode));
    let inherited = namespace.mode.as_deref();
    let asked_for = known.or(inherited) == Some(IN);
    if !mesh || !may_be_enrolled(&pod.namespace) {
        Decision::NotInMesh
    } else if asked_for && pod.host_network {
        Decision::HostNetwork
    } else if asked_for {
        Decision::Enrol
    } else if own != known {
        Decision::UnknownMode
    } else if own == Some(OUT) && inherited == Some(IN) {
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

    #[test]
    fn the_pods_label_wins_over_its_namespaces() {
        let cases = [
            (None, None, Decision::NotInMesh),
            (None, Some("ambient"), Decision::Enrol),
            (Some("none"), Some("ambient"), Decision::OptedOut),
            (Some("none"), None, Decision::NotInMesh),
            (Some("none"), Some("none"), Decision::NotInMesh),
            (Some("ambient"), None, Decision::Enrol),
            (Some("ambient"), Some("none"), Decision::Enrol),
            (None, Some("ambinet"), Decision::NotInMesh),
            (Some("Ambient"), Some("ambient"), Decision::Enrol),
            (Some("Ambient"), Some("none"), Decision::UnknownMode),
            (Some(""), None, Decision::UnknownMode),
        ];
        for (pod_mode, namespace_mode, decision) in cases {
            assert_eq!(
                decide(&pod(pod_mode), &namespace(namespace_mode), true),
                decision,
                "{pod_mode:?} {namespace_mode:?}"
            );
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
    fn the_mesh_itself_and_the_cluster_s_own_pods_are_never_in_it() {
        for name in ["tulle-system", "kube-system"] {
            let own = PodView {
                namespace: name.into(),
                ..pod(Some("ambient"))
            };
            assert_eq!(
                decide(&own, &namespace(Some("ambient")), true),
                Decision::NotInMesh
            );
        }
    }

    #[test]
    fn a_pod_on_the_nodes_network_is_named_only_where_it_was_asked_for() {
        let host = PodView {
            host_network: true,
            ..pod(None)
        };
        assert_eq!(
            decide(&host, &namespace(Some("ambient")), true),
            Decision::HostNetwork
        );
        assert_eq!(decide(&host, &namespace(None), true), Decision::NotInMesh);
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

    #[test]
    fn a_pod_that_has_ended_is_ended_whatever_its_labels() {
        let done = PodView {
            has_ended: true,
            ..pod(Some("ambient"))
        };
        assert_eq!(decide(&done, &namespace(None), true), Decision::Ended);
    }
}
