//! Which connections are older than the mesh, and when to end them. Pure: the
//! dumps and the clock come in by the door.
use std::collections::HashSet;
use std::time::Duration;

use super::classify::Connections;
use super::wire::{SocketId, TcpSocket};

/// What is to become of connections older than the enrolment (`Mesh.spec.enrolment`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// End what is left when this long has passed since the capture; by force after twice as long.
    End { grace: Duration },
    /// Leave them be; the pod stays Pending while there are any.
    Keep,
}

/// A quiet moment: nothing queued and no data either way for so long.
const QUIET_MS: u32 = 1000;
/// Between the first two looks, which must agree.
const SECOND_LOOK: Duration = Duration::from_millis(300);
const WATCHING: Duration = Duration::from_secs(1);
const KEEPING: Duration = Duration::from_secs(5);
/// Shorter than FIN_WAIT2 lasts (60 s): a proxied connection is seen with its mirror before that can be gone.
const SETTLED: Duration = Duration::from_secs(20);

/// What one pod's dumps have shown so far.
#[derive(Debug, Default)]
pub struct ConnectionTracker {
    looks: u32,
    /// Connections (by cookie) seen without a mirror in the last dump.
    suspected: HashSet<u64>,
    /// Connections ever seen through the proxy and still open: never older,
    /// also when the proxy's end closes first.
    proxied: HashSet<u64>,
}

/// What follows from a dump.
#[derive(Debug, PartialEq, Eq)]
pub struct Findings {
    /// Open connections that are older than the capture.
    pub existing: usize,
    /// Two looks have agreed: `existing` can be believed.
    pub sure: bool,
    /// Connections to end now.
    pub end: Vec<SocketId>,
    /// When to look again.
    pub next_look: Duration,
}

impl ConnectionTracker {
    /// Takes in a dump made `since_capture` after the rules were written.
    pub fn look(
        &mut self,
        seen: &Connections<'_>,
        since_capture: Duration,
        policy: Policy,
    ) -> Findings {
        self.looks = self.looks.saturating_add(1);
        self.remember_proxied(seen);
        let suspects: Vec<&TcpSocket> = seen
            .unproxied
            .iter()
            .copied()
            .filter(|socket| !self.proxied.contains(&socket.id.cookie()))
            .collect();
        let existing: Vec<&TcpSocket> = suspects
            .iter()
            .copied()
            .filter(|socket| self.suspected.contains(&socket.id.cookie()))
            .collect();
        self.suspected = suspects.iter().map(|socket| socket.id.cookie()).collect();
        let sure = self.looks > 1 && existing.len() == suspects.len();
        Findings {
            existing: existing.len(),
            sure,
            end: existing
                .iter()
                .filter(|socket| is_due(socket, since_capture, policy))
                .map(|socket| socket.id)
                .collect(),
            next_look: match (self.looks, policy) {
                (1, _) => SECOND_LOOK,
                _ if sure && existing.is_empty() => SETTLED,
                (_, Policy::Keep) if sure => KEEPING,
                _ => WATCHING,
            },
        }
    }

    fn remember_proxied(&mut self, seen: &Connections<'_>) {
        let open: HashSet<u64> = seen
            .unproxied
            .iter()
            .map(|socket| socket.id.cookie())
            .collect();
        self.proxied.retain(|cookie| open.contains(cookie));
        self.proxied.extend(&seen.proxied);
    }
}

fn is_due(socket: &TcpSocket, since_capture: Duration, policy: Policy) -> bool {
    match policy {
        Policy::Keep => false,
        Policy::End { grace } => {
            let is_quiet = socket.quiet_ms >= QUIET_MS && socket.queued == 0;
            since_capture >= grace * 2 || (since_capture >= grace && is_quiet)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::wire::State;

    const END: Policy = Policy::End {
        grace: Duration::from_secs(30),
    };

    fn open(cookie: u64, quiet_ms: u32) -> TcpSocket {
        TcpSocket {
            id: SocketId::for_test(cookie),
            state: State::Established,
            local: "10.0.0.2:40000".parse().unwrap(),
            remote: "10.0.0.9:80".parse().unwrap(),
            mark: 0,
            inode: 1,
            queued: 0,
            quiet_ms,
        }
    }

    fn past(sockets: &[TcpSocket]) -> Connections<'_> {
        Connections {
            unproxied: sockets.iter().collect(),
            ..Connections::default()
        }
    }

    fn through(cookies: &[u64]) -> Connections<'static> {
        Connections {
            proxied: cookies.iter().copied().collect(),
            ..Connections::default()
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn two_looks_must_agree() {
        let (mut tracker, existing) = (ConnectionTracker::default(), [open(1, 0)]);
        let first = tracker.look(&past(&existing), seconds(0), END);
        assert_eq!((first.existing, first.sure), (0, false));
        let second = tracker.look(&past(&existing), seconds(1), END);
        assert_eq!((second.existing, second.sure), (1, true));
        let another = [open(2, 0)];
        let third = tracker.look(&past(&another), seconds(2), END);
        assert_eq!(
            (third.existing, third.sure),
            (0, false),
            "a connection seen once is not believed"
        );
    }

    #[test]
    fn nothing_seen_twice_is_secured_and_looked_at_seldom() {
        let mut tracker = ConnectionTracker::default();
        tracker.look(&past(&[]), seconds(0), END);
        let findings = tracker.look(&past(&[]), seconds(1), END);
        assert!(findings.sure && findings.existing == 0 && findings.next_look == SETTLED);
    }

    #[test]
    fn a_connection_once_seen_through_the_proxy_is_never_older() {
        let (mut tracker, left) = (
            ConnectionTracker::default(),
            [TcpSocket {
                state: State::HalfClosed,
                ..open(1, 0)
            }],
        );
        tracker.look(&through(&[1]), seconds(0), END);
        for second in 1..5 {
            let findings = tracker.look(&past(&left), seconds(second), END);
            assert_eq!(
                (findings.existing, findings.sure),
                (0, true),
                "its mirror closed first"
            );
        }
    }

    #[test]
    fn existing_connections_are_ended_in_a_quiet_moment_after_the_grace_and_by_force_after_two() {
        let busy = TcpSocket {
            queued: 7,
            ..open(2, 5000)
        };
        let sockets = [open(1, 1000), busy, open(3, 999)];
        let end = |since| {
            let mut tracker = ConnectionTracker::default();
            tracker.look(&past(&sockets), since, END);
            let findings = tracker.look(&past(&sockets), since, END);
            findings
                .end
                .iter()
                .map(SocketId::cookie)
                .collect::<Vec<_>>()
        };
        assert!(end(seconds(29)).is_empty());
        assert_eq!(end(seconds(30)), [1]);
        assert_eq!(end(seconds(60)), [1, 2, 3]);
    }

    #[test]
    fn kept_connections_are_never_ended() {
        let (mut tracker, existing) = (ConnectionTracker::default(), [open(1, 60_000)]);
        tracker.look(&past(&existing), seconds(0), Policy::Keep);
        let findings = tracker.look(&past(&existing), seconds(9999), Policy::Keep);
        assert!(findings.existing == 1 && findings.end.is_empty());
    }

    #[test]
    fn without_grace_they_are_ended_at_once() {
        let (mut tracker, existing) = (ConnectionTracker::default(), [open(1, 0)]);
        let now = Policy::End {
            grace: Duration::ZERO,
        };
        tracker.look(&past(&existing), seconds(0), now);
        assert_eq!(tracker.look(&past(&existing), seconds(0), now).end.len(), 1);
    }
}
