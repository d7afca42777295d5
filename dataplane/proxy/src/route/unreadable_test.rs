//! R33: destinations whose resource cannot be read.
use super::*;
use crate::state::{Claim, Unreadable};

/// What stands for a resource of this name that cannot be read, with such addresses.
fn unreadable(name: &str, ips: &[[u8; 4]]) -> Change {
    let claims = ips.iter().map(|ip| Claim {
        ip: (*ip).into(),
        network: Some(String::new()),
        yields: false,
    });
    Change::Unreadable(Unreadable::new(
        name,
        "tunnel_protocol is 9".into(),
        claims.collect(),
        !ips.is_empty(),
    ))
}

fn refused_for(changes: Vec<Change>, to: &str) -> Option<String> {
    match way(changes, to) {
        Way::Refused(refusal @ Refusal::Unreadable(_)) => Some(refusal.to_string()),
        _ => None,
    }
}

#[test]
fn r33_what_cannot_be_read_is_refused_and_named() {
    let read = || unreadable("b", &[[10, 0, 0, 2]]);
    let reason = refused_for(vec![read()], "10.0.0.2:80").unwrap();
    assert!(reason.contains("b cannot be read"), "{reason}");
    assert!(reason.contains("tunnel_protocol is 9"), "{reason}");
    // Whichever comes first: two have the address, and of one nobody knows what it is.
    assert!(refused_for(vec![pod("a", 2, |_| {}), read()], "10.0.0.2:80").is_some());
    assert!(refused_for(vec![read(), pod("a", 2, |_| {})], "10.0.0.2:80").is_some());
    assert_eq!(refused_for(vec![read()], "10.0.0.1:80"), None);
}

#[test]
fn r33_a_version_that_cannot_be_read_replaces_the_one_before() {
    let newer = || vec![pod("b", 2, |w| w.tunnel_protocol = 0), unreadable("b", &[])];
    assert!(refused_for(newer(), "10.0.0.2:80").is_some());
    let vip = || {
        vec![
            cart(|_| {}),
            pod("a", 1, of_cart),
            unreadable("shop/cart", &[]),
        ]
    };
    assert!(refused_for(vip(), "10.96.0.1:80").is_some());
    // It keeps them over versions that cannot be read either, and moves to what can.
    let mut again = newer();
    again.push(unreadable("b", &[]));
    assert!(refused_for(again, "10.0.0.2:80").is_some());
    let mut moved = newer();
    moved.push(unreadable("b", &[[10, 0, 0, 3]]));
    assert_eq!(refused_for(moved, "10.0.0.2:80"), None);
    // An address that only the version before had is given on.
    let mut given_on = newer();
    given_on.push(pod("c", 2, |_| {}));
    let tunnelled = tunnel("c", "10.0.0.2:15008", "10.0.0.2:80");
    assert_eq!(way(given_on, "10.0.0.2:80"), tunnelled);
}

#[test]
fn r33_once_it_can_be_read_or_is_gone_it_is_refused_no_longer() {
    let read = || unreadable("b", &[[10, 0, 0, 2]]);
    let gone = vec![read(), Change::AddressGone("b".into())];
    assert!(matches!(way(gone, "10.0.0.2:80"), Way::Plaintext(_)));
    let readable = vec![read(), pod("b", 2, |_| {})];
    assert!(matches!(way(readable, "10.0.0.2:80"), Way::Tunnel { .. }));
    let service = vec![unreadable("shop/cart", &[[10, 96, 0, 1]]), cart(|_| {})];
    assert_eq!(refused_for(service, "10.96.0.1:80"), None);
}

#[test]
fn r33_what_cannot_be_read_is_no_endpoint() {
    let no_endpoint = Way::Refused(Refusal::NoEndpoint);
    let newer = vec![cart(|_| {}), pod("a", 1, of_cart), unreadable("a", &[])];
    assert_eq!(way(newer, "10.96.0.1:80"), no_endpoint);
    let shared = vec![
        cart(|_| {}),
        pod("a", 1, of_cart),
        unreadable("b", &[[10, 0, 0, 1]]),
    ];
    assert_eq!(way(shared, "10.96.0.1:80"), no_endpoint);
}

#[test]
fn r33_what_cannot_be_read_counts_as_in_the_mesh() {
    let state = MeshState::default();
    state.apply([unreadable("b", &[[10, 0, 0, 2]])]);
    let at = |at: &str| in_mesh(&state.read(), "", at.parse().unwrap());
    assert!(at("10.0.0.2:80"));
    assert!(!at("10.0.0.3:80"));
}
