//! Session affinity: which endpoint of a service a pod was sent to last. Of a pod, by service and
//! port, as kube-proxy has it by client address; it goes with the pod, and with the proxy.
use std::collections::HashMap;
use std::time::Instant;

use super::{Route, Way};
use crate::state::ServiceName;

/// Most services and ports a pod is remembered at; the one that would be forgotten next goes first.
const MOST: usize = 256;

#[derive(Default)]
pub struct Affinity {
    kept: HashMap<(ServiceName, u16), Kept>,
}

struct Kept {
    /// The uid of the endpoint.
    endpoint: String,
    until: Instant,
}

impl Affinity {
    /// The uid of the endpoint to send a connection to again, where it can be used.
    pub fn last(&self, service: &ServiceName, port: u16, now: Instant) -> Option<&str> {
        let kept = self.kept.get(&(service.clone(), port))?;
        (now < kept.until).then_some(kept.endpoint.as_str())
    }

    /// Remembers where a connection to `port` of a service goes, from now on as long as the
    /// service wants.
    pub fn note(&mut self, route: &Route, port: u16, now: Instant) {
        let (Some(service), Some(workload)) = (&route.service, &route.workload) else {
            return;
        };
        let Some(timeout) = service.affinity else {
            return;
        };
        // A waypoint stands before all endpoints, and chooses among them.
        if service.waypoint.is_some() || matches!(route.way, Way::Refused(_)) {
            return;
        }
        let kept = Kept {
            endpoint: workload.uid.clone(),
            until: now + timeout,
        };
        self.kept.insert((service.id.clone(), port), kept);
        self.make_room(now);
    }

    fn make_room(&mut self, now: Instant) {
        if self.kept.len() <= MOST {
            return;
        }
        self.kept.retain(|_, kept| now < kept.until);
        if self.kept.len() <= MOST {
            return;
        }
        let next = self.kept.iter().min_by_key(|(_, kept)| kept.until);
        if let Some(key) = next.map(|(key, _)| key.clone()) {
            self.kept.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "affinity_test.rs"]
mod tests;
