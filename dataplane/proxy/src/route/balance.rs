//! Which endpoint of a service takes a connection.
use tulle_wire::workload::load_balancing::{HealthPolicy, Mode, Scope};

use crate::state::{Service, Workload};

/// Whether a connection may be sent to `endpoint` at all.
pub fn eligible(service: &Service, endpoint: &Workload, network: &str) -> bool {
    let healthy = endpoint.healthy || service.health == HealthPolicy::AllowAll;
    healthy && endpoint.network == network && !endpoint.addresses.is_empty()
}

/// Keeps what the service's routing preference, seen from `source`, leaves.
pub fn preferred<T: AsRef<Workload>>(
    service: &Service,
    source: Option<&Workload>,
    endpoints: Vec<T>,
) -> Vec<T> {
    let wanted = &service.preference;
    let rank = |endpoint: &T| {
        let near =
            |scope: &&Scope| source.is_some_and(|source| same(**scope, source, endpoint.as_ref()));
        wanted.iter().take_while(near).count()
    };
    let least = match service.mode {
        Mode::Strict => wanted.len(),
        Mode::Failover => endpoints.iter().map(rank).max().unwrap_or(0),
        Mode::UnspecifiedMode | Mode::Passthrough => 0,
    };
    endpoints
        .into_iter()
        .filter(|endpoint| rank(endpoint) >= least)
        .collect()
}

fn same(scope: Scope, a: &Workload, b: &Workload) -> bool {
    match scope {
        Scope::Region => a.locality.region == b.locality.region,
        Scope::Zone => a.locality.zone == b.locality.zone,
        Scope::Subzone => a.locality.subzone == b.locality.subzone,
        Scope::Node => a.node == b.node,
        Scope::Cluster => a.cluster == b.cluster,
        Scope::Network => a.network == b.network,
        Scope::UnspecifiedScope => false,
    }
}

/// Picks one by chance, in proportion to the weights. `chance` is in 0..1.
pub fn pick<T: AsRef<Workload>>(endpoints: Vec<T>, chance: f64) -> Option<T> {
    let total: f64 = endpoints.iter().map(weight).sum();
    let mut left = total * chance;
    let mut last = None;
    for endpoint in endpoints {
        let share = weight(&endpoint);
        if share > 0.0 {
            if left < share {
                return Some(endpoint);
            }
            left -= share;
            last = Some(endpoint);
        }
    }
    last
}

fn weight<T: AsRef<Workload>>(endpoint: &T) -> f64 {
    f64::from(endpoint.as_ref().weight)
}
