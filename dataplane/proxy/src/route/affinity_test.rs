use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::state::{Service, Workload};
use tulle_wire::workload as wire;

const HOUR: Duration = Duration::from_secs(3600);

fn route(service: &str, endpoint: &str, timeout: Duration) -> Route {
    let service = wire::Service {
        namespace: "shop".into(),
        hostname: service.into(),
        client_affinity_seconds: timeout.as_secs().try_into().unwrap(),
        ..Default::default()
    };
    let workload = wire::Workload {
        uid: endpoint.into(),
        namespace: "shop".into(),
        addresses: vec![vec![10, 0, 0, 1].into()],
        ..Default::default()
    };
    Route {
        way: Way::Plaintext("10.0.0.1:8080".parse().unwrap()),
        workload: Some(Arc::new(Workload::parse(workload).unwrap())),
        service: Some(Arc::new(Service::parse(service).unwrap())),
    }
}

fn named(service: &str) -> ServiceName {
    ServiceName::parse(&format!("shop/{service}")).unwrap()
}

#[test]
fn an_endpoint_is_kept_for_the_timeout_after_the_last_connection() {
    let (mut affinity, start) = (Affinity::default(), Instant::now());
    affinity.note(&route("cart", "a", HOUR), 80, start);
    let just_before = start + HOUR - Duration::from_millis(1);
    assert_eq!(affinity.last(&named("cart"), 80, just_before), Some("a"));
    assert_eq!(affinity.last(&named("cart"), 81, start), None, "by port");
    assert_eq!(affinity.last(&named("other"), 80, start), None);
    affinity.note(&route("cart", "a", HOUR), 80, just_before);
    assert_eq!(affinity.last(&named("cart"), 80, start + HOUR), Some("a"));
    let after = just_before + HOUR;
    assert_eq!(affinity.last(&named("cart"), 80, after), None);
}

#[test]
fn nothing_is_kept_of_a_service_without_affinity_nor_of_a_connection_that_is_refused() {
    let (mut affinity, now) = (Affinity::default(), Instant::now());
    affinity.note(&route("cart", "a", Duration::ZERO), 80, now);
    let refused = Route {
        way: Way::Refused(crate::route::Refusal::OwnPort),
        ..route("cart", "a", HOUR)
    };
    affinity.note(&refused, 80, now);
    assert!(affinity.kept.is_empty());
}

#[test]
fn r39_a_pod_that_calls_everybody_is_remembered_at_so_many_and_the_oldest_is_forgotten() {
    let (mut affinity, start) = (Affinity::default(), Instant::now());
    let later = |index: usize| start + Duration::from_millis(u64::try_from(index).unwrap());
    for index in 0..2 * MOST {
        let service = format!("s{index}");
        affinity.note(&route(&service, "a", HOUR), 80, later(index));
        assert!(affinity.kept.len() <= MOST);
    }
    let now = later(2 * MOST);
    assert_eq!(affinity.last(&named("s0"), 80, now), None);
    let newest = format!("s{}", 2 * MOST - 1);
    assert_eq!(affinity.last(&named(&newest), 80, now), Some("a"));

    // What is over makes room for all at once.
    affinity.note(&route("cart", "a", HOUR), 80, now + 2 * HOUR);
    assert_eq!(affinity.kept.len(), 1);
}
