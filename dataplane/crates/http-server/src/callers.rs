//! Who may be connected to an HTTP port at once. Any pod can reach these ports, and none may keep the kubelet's probes
//! out: an address has a few places, and those who call from the address they call have places of their own.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places of all addresses together, those of the node apart.
const ALL: usize = 64;
/// Of one address.
const EACH: usize = 4;
/// Of the node itself: a packet that comes from outside cannot have its address for source.
const OWN: usize = 16;

/// Who is connected.
#[derive(Debug, Default)]
pub struct CallerLimits(Mutex<Connected>);

#[derive(Debug, Default)]
struct Connected {
    own: usize,
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// A caller's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Arc<CallerLimits>,
    /// None for one of the node's own.
    of: Option<IpAddr>,
}

impl CallerLimits {
    /// A place for a connection from `peer` to `local`; none when there is none left.
    #[must_use]
    pub fn admit(self: &Arc<Self>, peer: IpAddr, local: IpAddr) -> Option<Place> {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        let of = (peer != local && !peer.is_loopback()).then_some(peer);
        let mut connected = self.lock();
        let Connected { own, all, each } = &mut *connected;
        if let Some(peer) = of {
            let count = each.get(&peer).copied().unwrap_or_default();
            if *all >= ALL || count >= EACH {
                return None;
            }
            each.insert(peer, count + 1);
            *all += 1;
        } else {
            if *own >= OWN {
                return None;
            }
            *own += 1;
        }
        Some(Place {
            limits: Arc::clone(self),
            of,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.limits.lock();
        let Some(peer) = self.of else {
            connected.own -= 1;
            return;
        };
        connected.all -= 1;
        match connected.each.get_mut(&peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                connected.each.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn pod(last: u8) -> IpAddr {
        IpAddr::from([10, 1, 0, last])
    }

    #[test]
    fn r37_one_address_cannot_take_every_place() {
        let limits = Arc::new(CallerLimits::default());
        let places: Vec<_> = (0..ALL)
            .filter_map(|_| limits.admit(pod(7), NODE))
            .collect();
        assert_eq!(places.len(), EACH);
        assert!(limits.admit(pod(8), NODE).is_some());
        drop(places);
        assert!(limits.lock().each.is_empty(), "places are given back");
        assert!(limits.admit(pod(7), NODE).is_some());
    }

    #[test]
    fn r37_the_node_has_places_that_nobody_else_can_take() {
        let limits = Arc::new(CallerLimits::default());
        let places: Vec<_> = (0..=255)
            .flat_map(|last| (0..EACH).map(move |_| last))
            .filter_map(|last| limits.admit(pod(last), NODE))
            .collect();
        assert_eq!(places.len(), ALL);
        let mapped = "::ffff:10.0.0.1".parse().unwrap_or(NODE);
        let own: Vec<_> = [NODE, mapped, IpAddr::from([127, 0, 0, 1])]
            .into_iter()
            .cycle()
            .take(OWN * 2)
            .filter_map(|node| limits.admit(node, NODE))
            .collect();
        assert_eq!(own.len(), OWN);
        drop(own);
        assert!(limits.admit(NODE, NODE).is_some());
    }
}
