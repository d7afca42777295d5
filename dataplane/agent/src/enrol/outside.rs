//! What is told of a pod outside the mesh that somebody may expect in it. Pure.
use tulle_names::MODE_LABEL;

use super::decision::Decision;
use crate::cluster::PodView;
use crate::report::PodCondition;

/// How a pod stands that is outside the mesh; `None` where there is nothing to tell of it.
pub(super) fn outside(pod: &PodView, decision: Decision) -> Option<PodCondition> {
    match decision {
        Decision::HostNetwork => Some(PodCondition::failed(
            "HostNetwork",
            "the pod uses the node's network: it is outside the mesh; label it mesh.tulle.dev/mode=none if that is meant",
        )),
        Decision::UnknownMode => Some(PodCondition::failed(
            "UnknownMode",
            format!(
                "the pod's label {MODE_LABEL} is {:?}, neither ambient nor none: it is ignored, and the namespace is not in the mesh",
                pod.mode.as_deref().unwrap_or_default()
            ),
        )),
        Decision::OptedOut => Some(PodCondition::opted_out(
            "PodLabel",
            format!(
                "the pod's own label {MODE_LABEL}=none takes it out of its namespace's mesh: it sends and receives plaintext; remove the label to bring it in"
            ),
        )),
        Decision::Enrol | Decision::Ended | Decision::NotInMesh => None,
    }
}
