use super::*;
use crate::fuzz;
use tulle_wire::security;

fn reason() -> ResourceError {
    ResourceError::Decode("broken".into())
}

fn authorization(scope: i32, action: i32, dry_run: bool) -> security::Authorization {
    security::Authorization {
        name: "p".into(),
        namespace: "shop".into(),
        scope,
        action,
        dry_run,
        ..Default::default()
    }
}

fn of(authorization: &security::Authorization) -> Policy {
    policy("shop/p", Some(&authorization.encode_to_vec()), &reason())
}

/// Scope, action, whether it is in force.
fn covers(policy: &Policy) -> (Scope, Action, bool) {
    assert_eq!(policy.name, "shop/p");
    assert!(policy.unreadable.is_some());
    let matches_all = policy.rules == [Vec::<Vec<_>>::new()];
    assert_eq!(matches_all, policy.action == Action::Deny);
    assert_eq!(policy.rules.is_empty(), policy.action == Action::Allow);
    (policy.scope, policy.action, !policy.dry_run)
}

#[test]
fn r33_an_unreadable_policy_refuses_where_it_says_it_is_in_force() {
    use {Action::*, Scope::*};
    for (scope, expected) in [(0, Global), (1, Namespace), (2, Selected), (3, Global)] {
        let policy = of(&authorization(scope, 1, false));
        assert_eq!(covers(&policy), (expected, Deny, true));
        assert_eq!(policy.namespace, "shop");
        let policy = of(&authorization(scope, 0, false));
        assert_eq!(covers(&policy), (expected, Allow, true));
    }
    // An action of a newer control plane.
    assert_eq!(
        covers(&of(&authorization(2, 7, false))),
        (Selected, Deny, true)
    );
    // A namespace that is none would cover nothing.
    let mut nowhere = authorization(1, 1, false);
    nowhere.namespace.clear();
    assert_eq!(covers(&of(&nowhere)), (Global, Deny, true));
    assert_eq!(
        covers(&of(&authorization(0, 1, true))),
        (Global, Deny, false)
    );
}

#[test]
fn r33_a_policy_that_is_cut_off_denies_everywhere() {
    let whole = authorization(2, 0, true).encode_to_vec();
    let everywhere = (Scope::Global, Action::Deny, true);
    // From here on the last field, that it is only tried, is not there or not whole.
    let cut = [&whole[..], &[0x2a, 200, 1]].concat();
    assert_eq!(covers(&policy("shop/p", Some(&cut), &reason())), everywhere);
    assert_eq!(covers(&policy("shop/p", None, &reason())), everywhere);
    let odd = [&whole[..], &[0x1a, 1, b'x', 0x32, 1, b'x']].concat();
    let odd = policy("shop/p", Some(&odd), &reason());
    assert_eq!(covers(&odd), (Scope::Global, Action::Allow, true));
}

#[test]
fn r33_every_address_that_can_be_read_is_claimed() {
    let claimed = |value: &[u8]| -> Vec<(String, Option<String>)> {
        let unreadable = address("x", Some(value), &reason());
        let claims = unreadable.claims().iter();
        claims
            .map(|claim| (claim.ip.to_string(), claim.network.clone()))
            .collect()
    };
    let net = || Some("near".to_owned());
    let workload = wire::Workload {
        addresses: vec![vec![10, 0, 0, 1].into(), vec![1].into(), vec![0; 16].into()],
        network: "near".into(),
        tunnel_protocol: 9,
        ..Default::default()
    };
    let workload = encoded(Type::Workload(workload));
    let expected = [("10.0.0.1".to_owned(), net()), ("::".to_owned(), net())];
    assert_eq!(claimed(&workload), expected);

    let address = wire::NetworkAddress {
        network: "near".into(),
        address: vec![10, 96, 0, 1].into(),
        length: None,
    };
    let service = encoded(Type::Service(wire::Service {
        addresses: vec![address],
        ..Default::default()
    }));
    assert_eq!(claimed(&service), [("10.96.0.1".to_owned(), net())]);

    // What cannot be decoded may be of any network: cut off, or a number where a text should be.
    let any = |ip: &str| vec![(ip.to_owned(), None)];
    assert_eq!(claimed(&workload[..10]), any("10.0.0.1"));
    assert_eq!(
        claimed(&[0x0a, 8, 0x1a, 4, 10, 0, 0, 7, 0x08, 1]),
        any("10.0.0.7")
    );
    assert_eq!(
        claimed(&[0x12, 10, 0x22, 6, 0x12, 4, 10, 0, 0, 8, 0x08, 1]),
        any("10.0.0.8")
    );
    assert_eq!(claimed(&[0xff; 9]), []);
}

fn encoded(address: Type) -> Vec<u8> {
    wire::Address {
        r#type: Some(address),
    }
    .encode_to_vec()
}

#[test]
fn r28_random_resources_are_salvaged_without_panic() {
    let whole = encoded(Type::Workload(wire::Workload {
        addresses: vec![vec![10, 0, 0, 1].into()],
        ..Default::default()
    }));
    let policy_bytes = authorization(1, 1, true).encode_to_vec();
    fuzz::rounds(30_000, |random| {
        for (bytes, is_policy) in [(&whole, false), (&policy_bytes, true)] {
            let mut bytes = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            if is_policy {
                let _ = policy("shop/p", Some(&bytes), &reason());
            } else {
                let _ = address("x", Some(&bytes), &reason());
            }
        }
    });
}
