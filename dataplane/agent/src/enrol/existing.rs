//! What looking at a captured pod has shown, and what follows from it. Peers may not have been told
//! yet, and there may be connections older than the enrolment, of the pod itself or of a peer. Pure.
use std::time::Duration;

use tokio::time::Instant;
use tulle_proxy_status::WorkloadState;

use crate::report::PodCondition;
use crate::sockets::Policy;

/// A quiet moment of a connection that a proxy carries.
const QUIET: Duration = Duration::from_secs(1);

/// What looking has shown so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Connections that pass by the proxy.
    pub existing: usize,
    /// Two looks have agreed on `existing`.
    pub sure: bool,
    /// What proxies see of the pod; none until one has said.
    pub observation: Option<WorkloadState>,
    /// Since when proxies have carried existing connections.
    pub carried_since: Option<Instant>,
}

/// What to order after so long: nothing, or to end what has been quiet for a while, or all (`Some(None)`).
pub(super) fn order(elapsed: Duration, policy: Policy) -> Option<Option<Duration>> {
    match policy {
        Policy::Keep => None,
        Policy::End { grace } if elapsed >= grace * 2 => Some(None),
        Policy::End { grace } if elapsed >= grace => Some(Some(QUIET)),
        Policy::End { .. } => None,
    }
}

pub(super) fn carried(observation: Option<WorkloadState>) -> usize {
    observation.map_or(0, |observation| observation.existing_connections)
}

/// How a captured pod stands after a look; `None`: as before, because one
/// look alone is not believed, and silence is no news.
pub(super) fn condition(seen: &Seen, policy: Policy, was_secured: bool) -> Option<PodCondition> {
    let carried = carried(seen.observation);
    match seen.existing + carried {
        0 => match seen.observation.map(|observation| observation.announced) {
            Some(true) if seen.sure => Some(PodCondition::secured()),
            Some(true) | None if was_secured => None,
            Some(true) => Some(PodCondition::pending(
                "Captured",
                "looking for existing connections",
            )),
            Some(false) | None => Some(PodCondition::pending(
                "Announcing",
                "waiting for tulle-control to tell peers to use mutual TLS",
            )),
        },
        count => Some(PodCondition {
            existing_connections: count,
            ..PodCondition::pending("ExistingConnections", message(count, carried, policy))
        }),
    }
}

fn message(count: usize, carried: usize, policy: Policy) -> String {
    let plural = if count == 1 {
        "existing connection"
    } else {
        "existing connections"
    };
    let (whose, then) = if carried == 0 {
        ("", "the capture")
    } else {
        (" of the pod or of a peer", "that")
    };
    let prospect = match policy {
        Policy::End { grace } => {
            format!("what is left {} s after {then} is ended", grace.as_secs())
        }
        Policy::Keep => {
            "kept, as the Mesh says (spec.enrolment.existingConnections.policy)".to_owned()
        }
    };
    format!("{count} {plural}{whose}; {prospect}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PodState;

    const END: Policy = Policy::End {
        grace: Duration::from_secs(30),
    };

    #[test]
    fn what_a_proxy_carries_is_ended_when_quiet_after_the_grace_and_by_force_after_two() {
        let after = |seconds| order(Duration::from_secs(seconds), END);
        assert_eq!(after(29), None);
        assert_eq!(after(30), Some(Some(QUIET)));
        assert_eq!(after(59), Some(Some(QUIET)));
        assert_eq!(after(60), Some(None));
        assert_eq!(order(Duration::from_secs(9999), Policy::Keep), None);
    }

    #[test]
    fn a_secured_pod_is_pending_again_when_a_peer_joins_whom_it_talks_to_in_plaintext() {
        let seen = Seen {
            sure: true,
            observation: Some(WorkloadState {
                announced: true,
                existing_connections: 1,
                draining: false,
                enrolling: None,
            }),
            ..Seen::default()
        };
        let condition = condition(&seen, END, true).unwrap();
        assert_eq!(
            (condition.state, condition.existing_connections),
            (PodState::Pending, 1)
        );
        assert_eq!(
            condition.message,
            "1 existing connection of the pod or of a peer; what is left 30 s after that is ended"
        );
    }

    #[test]
    fn a_pod_is_secured_once_two_looks_agree_and_peers_are_told() {
        let stands = |sure, announced: Option<bool>, was_secured| {
            let observation = announced.map(|announced| WorkloadState {
                announced,
                existing_connections: 0,
                draining: false,
                enrolling: None,
            });
            let seen = Seen {
                sure,
                observation,
                ..Seen::default()
            };
            condition(&seen, END, was_secured).map(|condition| condition.reason)
        };
        let reason = |text: &str| Some(text.to_owned());
        assert_eq!(stands(true, Some(true), false), reason("Secured"));
        assert_eq!(stands(false, Some(true), false), reason("Captured"));
        assert_eq!(stands(true, Some(false), false), reason("Announcing"));
        assert_eq!(stands(true, None, false), reason("Announcing"));
        assert_eq!(stands(true, Some(false), true), reason("Announcing"));
        assert_eq!(stands(false, Some(true), true), None, "one look alone");
        assert_eq!(stands(true, None, true), None, "silence is no news");
    }

    #[test]
    fn both_kinds_are_counted_together() {
        let seen = Seen {
            existing: 2,
            observation: Some(WorkloadState {
                announced: true,
                existing_connections: 1,
                draining: false,
                enrolling: None,
            }),
            ..Seen::default()
        };
        let condition = condition(&seen, Policy::Keep, false).unwrap();
        assert_eq!(condition.existing_connections, 3);
        assert!(condition.message.contains("kept, as the Mesh says"));
    }
}
