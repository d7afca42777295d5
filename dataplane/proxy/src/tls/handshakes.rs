//! Who may be in a handshake. A peer that has not proved who it is has its address for a name, and
//! takes no more than its share: of all, and of each pod.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// Handshakes in progress of one address, with one pod, and in all.
const OF_A_PEER: usize = 64;
const WITH_A_POD: usize = 128;
const IN_ALL: usize = 512;

/// The handshakes that are in progress, the oldest first.
#[derive(Clone, Default)]
pub struct Handshakes(Arc<Mutex<InProgress>>);

#[derive(Default)]
struct InProgress {
    next: u64,
    by_age: BTreeMap<u64, Handshake>,
}

struct Handshake {
    peer: IpAddr,
    /// The pod's address that it came to.
    pod: IpAddr,
    evicted: CancellationToken,
}

/// One handshake in progress, until dropped.
pub struct Turn {
    handshakes: Handshakes,
    id: u64,
    evicted: CancellationToken,
}

impl Handshakes {
    /// A turn for one more of `peer` with `pod`. Where there are too many, the oldest of the
    /// peer that has most ends for it; none when that is this peer itself.
    pub fn begin(&self, peer: IpAddr, pod: IpAddr) -> Option<Turn> {
        let mut all = lock(&self.0);
        if all.count(|one| one.peer == peer) >= OF_A_PEER {
            return None;
        }
        if all.count(|one| one.pod == pod) >= WITH_A_POD {
            all.make_room(peer, |one| one.pod == pod)?;
        }
        if all.by_age.len() >= IN_ALL {
            all.make_room(peer, |_| true)?;
        }
        let (id, evicted) = (all.next, CancellationToken::new());
        all.next += 1;
        all.by_age.insert(
            id,
            Handshake {
                peer,
                pod,
                evicted: evicted.clone(),
            },
        );
        Some(Turn {
            handshakes: self.clone(),
            id,
            evicted,
        })
    }
}

impl InProgress {
    fn count(&self, of: impl Fn(&Handshake) -> bool) -> usize {
        self.by_age.values().filter(|one| of(one)).count()
    }

    /// Ends the oldest handshake of the peer that has most among `those`, unless `newcomer` has as many.
    fn make_room(&mut self, newcomer: IpAddr, those: impl Fn(&Handshake) -> bool) -> Option<()> {
        let mut each: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (id, one) in self.by_age.iter().filter(|(_, one)| those(one)) {
            each.entry(one.peer).or_insert((0, *id)).0 += 1;
        }
        let own = each.get(&newcomer).map_or(0, |(count, _)| *count);
        // Of those with as many, the one that has been at it longest.
        let (most, oldest) = each
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)))?;
        if own >= most {
            return None;
        }
        self.by_age.remove(&oldest)?.evicted.cancel();
        Some(())
    }
}

impl Turn {
    /// Resolves when another peer needs the turn more.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.handshakes.0).by_age.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn pod(number: u8) -> IpAddr {
        [10, 1, 0, number].into()
    }

    fn evicted(turns: &[Turn]) -> usize {
        let evicted = turns.iter().filter(|turn| turn.evicted.is_cancelled());
        evicted.count()
    }

    #[test]
    fn r37_a_peer_with_too_many_handshakes_hinders_only_itself() {
        let handshakes = Handshakes::default();
        let mut turns: Vec<_> = (0..=255)
            .filter_map(|number| handshakes.begin(peer(1), pod(number)))
            .collect();
        assert_eq!(turns.len(), OF_A_PEER, "whatever pods it comes to");
        assert!(handshakes.begin(peer(2), pod(1)).is_some());
        turns.pop();
        assert!(handshakes.begin(peer(1), pod(1)).is_some());
        turns.clear();
        assert!(lock(&handshakes.0).by_age.is_empty());
    }

    #[test]
    fn r37_peers_that_act_together_keep_nobody_out_of_a_pod() {
        let handshakes = Handshakes::default();
        let mut together: Vec<_> = (1..=8)
            .flat_map(|number| (0..OF_A_PEER).map(move |_| number))
            .filter_map(|number| handshakes.begin(peer(number), pod(1)))
            .collect();
        assert_eq!(together.len() - evicted(&together), WITH_A_POD);
        let other = handshakes.begin(peer(100), pod(1)).unwrap();
        assert_eq!(together.len() - evicted(&together), WITH_A_POD - 1);
        assert!(!other.evicted.is_cancelled());
        let again: Vec<_> = (0..OF_A_PEER)
            .filter_map(|_| handshakes.begin(peer(1), pod(1)))
            .collect();
        assert!(
            !other.evicted.is_cancelled(),
            "they only take from each other"
        );
        together.extend(again);
        assert_eq!(
            lock(&handshakes.0).count(|one| one.pod == pod(1)),
            WITH_A_POD
        );
    }

    #[test]
    fn r37_handshakes_of_ever_more_peers_are_bounded_and_the_newest_are_served() {
        let handshakes = Handshakes::default();
        let mut turns: Vec<_> = (0..=255)
            .flat_map(|number| (0..8).map(move |of| (number, of)))
            .filter_map(|(number, of)| handshakes.begin(peer(number), pod(of)))
            .collect();
        assert_eq!(lock(&handshakes.0).by_age.len(), IN_ALL);
        turns.push(handshakes.begin([10, 9, 9, 9].into(), pod(100)).unwrap());
        assert_eq!(lock(&handshakes.0).by_age.len(), IN_ALL);
        assert!(!turns.last().unwrap().evicted.is_cancelled());
    }
}
