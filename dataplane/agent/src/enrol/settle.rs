//! The step Settle: a pod that leaves is served as before until peers have been told. They are told
//! by control; that it has, the node's own proxy shows, which is told like any other.
use std::time::Duration;

use tulle_proxy_status::WorkloadState;

use super::failure::Failure;
use super::worker::{Desired, Taken, Worker};
use crate::report::PodCondition;

/// Between two questions to the proxies.
const LOOK: Duration = Duration::from_millis(250);
/// How long a proxy is waited for that says nothing of the pod: it may be about to find a new
/// agent. Where none is left no tunnel to the pod works anyway, and one of another make never says.
const UNSEEN: Duration = Duration::from_secs(10);
/// How long control is waited for once the Mesh is gone.
const UNINSTALL: Duration = Duration::from_secs(60);

impl Worker {
    pub(super) fn settle(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let observation = self.node.observations.of(&self.uid);
        let is_mesh_gone = self.node.view.borrow().is_mesh_gone();
        if is_settled(observation, is_mesh_gone, self.own.withdrawn_at.elapsed()) {
            self.own.settled = true;
            return Ok(Taken::On);
        }
        self.report(
            desired,
            PodCondition::pending(
                "Leaving",
                "waiting for tulle-control to tell peers that the pod leaves; it is served until then",
            ),
        );
        self.node.observations.hurry();
        Ok(Taken::Pause(LOOK))
    }
}

/// Whether peers know, or are waited for no longer. While control is away peers go on tunnelling to
/// the pod, and it goes on being served: nothing is sent in plaintext meanwhile that was not before.
/// Only an uninstallation does not wait for ever.
fn is_settled(observation: Option<WorkloadState>, is_mesh_gone: bool, waited: Duration) -> bool {
    match observation.map(|observation| observation.announced) {
        Some(false) => true,
        Some(true) => is_mesh_gone && waited >= UNINSTALL,
        None => waited >= UNSEEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(announced: Option<bool>, is_mesh_gone: bool, seconds: u64) -> bool {
        let observation = announced.map(|announced| WorkloadState {
            announced,
            ..WorkloadState::default()
        });
        is_settled(observation, is_mesh_gone, Duration::from_secs(seconds))
    }

    #[test]
    fn r30_peers_know_when_the_nodes_own_proxy_does() {
        assert!(settled(Some(false), false, 0));
        assert!(!settled(Some(true), false, 999_999), "control is away");
    }

    #[test]
    fn r30_an_uninstallation_does_not_wait_for_control_for_ever() {
        assert!(!settled(Some(true), true, 59));
        assert!(settled(Some(true), true, 60));
    }

    #[test]
    fn r30_a_pod_no_proxy_speaks_of_is_waited_for_as_long_as_a_proxy_may_take_to_come_back() {
        assert!(!settled(None, false, 9));
        assert!(settled(None, false, 10));
    }
}
