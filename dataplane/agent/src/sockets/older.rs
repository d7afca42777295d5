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
pub struct Ledger {
    looks: u32,
    /// Connections (by cookie) seen without a mirror in the last dump.
    suspected: HashSet<u64>,
    /// Connections ever seen through the proxy and still open: never older,
    /// also when the proxy's end closes first.
    proxied: HashSet<u64>,
}

/// What follows from a dump.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Open connections that are older than the capture.
    pub older: usize,
    /// Two looks have agreed: `older` can be believed.
    pub sure: bool,
    /// Connections to end now.
    pub end: Vec<SocketId>,
    /// When to look again.
    pub next_look: Duration,
}

impl Ledger {
    /// Takes in a dump made `since_capture` after the rules were written.
    pub fn look(
        &mut self,
        seen: &Connections<'_>,
        since_capture: Duration,
        policy: Policy,
    ) -> Verdict {
        self.looks = self.looks.saturating_add(1);
        self.remember_proxied(seen);
        let suspects: Vec<&TcpSocket> = seen
            .unproxied
            .iter()
            .copied()
            .filter(|socket| !self.proxied.contains(&socket.id.cookie()))
            .collect();
        let older: Vec<&TcpSocket> = suspects
            .iter()
            .copied()
            .filter(|socket| self.suspected.contains(&socket.id.cookie()))
            .collect();
        self.suspected = suspects.iter().map(|socket| socket.id.cookie()).collect();
        let sure = self.looks > 1 && older.len() == suspects.len();
        Verdict {
            older: older.len(),
            sure,
            end: older
                .iter()
                .filter(|socket| is_due(socket, since_capture, policy))
                .map(|socket| socket.id)
                .collect(),
            next_look: match (self.looks, policy) {
                (1, _) => SECOND_LOOK,
                _ if sure && older.is_empty() => SETTLED,
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
