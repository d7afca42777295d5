//! The step Exempt: a pod that runs is captured once the node's own proxy has heard from control that
//! it is being enrolled, so that Strict does not refuse what peers that have not been told send in
//! plaintext (docs/adr/0015).
use std::time::Duration;

use tokio::time::Instant;
use tulle_proxy_status::WorkloadState;

use super::worker::{Taken, Worker};

/// Between two questions to the proxies.
const LOOK: Duration = Duration::from_millis(250);
/// How long control is waited for: an older one never says so.
const LIMIT: Duration = Duration::from_secs(5);

impl Worker {
    pub(super) fn exempt(&mut self) -> Taken {
        let since = *self.own.exempt_since.get_or_insert_with(Instant::now);
        let observation = self.node.observations.of(&self.uid);
        // A proxy of another make serves no status.
        let never_says = self.node.proxies.takes_listeners() == Some(false);
        if never_says || is_exempt(observation, since.elapsed()) {
            self.own.exempt = true;
            return Taken::On;
        }
        self.node.observations.hurry();
        Taken::Pause(LOOK)
    }
}

/// Whether the proxy has heard, or is waited for no longer. An older one does not say.
fn is_exempt(observation: Option<WorkloadState>, waited: Duration) -> bool {
    let heard = observation
        .is_some_and(|observation| observation.announced || observation.enrolling != Some(false));
    heard || waited >= LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exempt(enrolling: Option<bool>, announced: bool) -> bool {
        let observation = WorkloadState {
            announced,
            enrolling,
            ..WorkloadState::default()
        };
        is_exempt(Some(observation), Duration::ZERO)
    }

    #[test]
    fn r24_a_running_pod_is_captured_once_the_proxy_has_heard_that_it_is_being_enrolled() {
        assert!(!exempt(Some(false), false));
        assert!(exempt(Some(true), false));
        assert!(
            !is_exempt(None, Duration::ZERO),
            "no proxy has said a thing"
        );
    }

    #[test]
    fn nobody_waits_for_who_never_says() {
        assert!(exempt(None, false), "an older proxy");
        assert!(exempt(Some(false), true), "announced already");
        assert!(is_exempt(None, LIMIT));
    }
}
