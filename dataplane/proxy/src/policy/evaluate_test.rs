use super::*;
use tulle_wire::security as wire;
use wire::string_match::MatchType;

fn from(source: Option<&str>) -> Connection {
    Connection {
        source: source.map(|id| id.parse().unwrap()),
        source_ip: [10, 1, 0, 7].into(),
        destination_ip: [10, 2, 0, 9].into(),
        destination_port: 8080,
        exempt_from: vec![],
    }
}

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn text(match_type: MatchType) -> wire::StringMatch {
    wire::StringMatch {
        match_type: Some(match_type),
    }
}

fn exact(value: &str) -> wire::StringMatch {
    text(MatchType::Exact(value.into()))
}

fn policy(action: wire::Action, matches: Vec<wire::Match>) -> wire::Authorization {
    let rules = vec![wire::Rule {
        clauses: vec![wire::Clause { matches }],
    }];
    wire::Authorization {
        name: "p".into(),
        namespace: "shop".into(),
        action: action.into(),
        rules,
        ..Default::default()
    }
}

/// Matches every connection: its one clause asks for nothing.
fn everyone(action: wire::Action) -> wire::Authorization {
    policy(action, vec![])
}

fn effect(policies: Vec<wire::Authorization>, connection: &Connection) -> Effect {
    let parsed: Vec<_> = policies
        .into_iter()
        .map(|p| Arc::new(Policy::parse(p).unwrap()))
        .collect();
    evaluate(&parsed, connection).effect
}

fn denies(m: wire::Match, connection: &Connection) -> bool {
    effect(vec![policy(wire::Action::Deny, vec![m])], connection) == Effect::Deny
}

#[test]
fn with_no_policy_all_may() {
    assert_eq!(effect(vec![], &from(None)), Effect::Allow);
}

#[test]
fn an_allow_policy_that_matches_nothing_allows_nothing() {
    let mut without_rules = everyone(wire::Action::Allow);
    without_rules.rules.clear();
    assert_eq!(effect(vec![without_rules], &from(Some(CART))), Effect::Deny);
}

/// As ambient has it, so that a policy means the same to every proxy.
#[test]
fn a_clause_that_asks_nothing_is_met_and_a_match_that_names_nothing_is_not() {
    let source = from(Some(CART));
    let nothing_named = |action| policy(action, vec![wire::Match::default()]);
    assert_eq!(
        effect(vec![everyone(wire::Action::Allow)], &source),
        Effect::Allow
    );
    assert_eq!(
        effect(vec![everyone(wire::Action::Deny)], &source),
        Effect::Deny
    );
    assert_eq!(
        effect(vec![nothing_named(wire::Action::Allow)], &source),
        Effect::Deny
    );
    assert_eq!(
        effect(vec![nothing_named(wire::Action::Deny)], &source),
        Effect::Allow
    );
}

#[test]
fn deny_goes_before_allow() {
    let both = vec![everyone(wire::Action::Allow), everyone(wire::Action::Deny)];
    assert_eq!(effect(both, &from(Some(CART))), Effect::Deny);
}

#[test]
fn strict_refuses_plaintext_and_nothing_else() {
    let strict = || wire::Match {
        not_principals: vec![text(MatchType::Presence(()))],
        ..Default::default()
    };
    assert!(denies(strict(), &from(None)));
    assert!(!denies(strict(), &from(Some(CART))));
}

#[test]
fn dry_run_is_told_and_not_enforced() {
    let mut deny = everyone(wire::Action::Deny);
    deny.dry_run = true;
    let parsed = [Arc::new(Policy::parse(deny).unwrap())];
    let decision = evaluate(&parsed, &from(Some(CART)));
    assert_eq!(decision.effect, Effect::Allow);
    assert_eq!(
        decision.dry_run,
        Some((Effect::Deny, Some("shop/p".into())))
    );

    let mut allow = policy(wire::Action::Allow, vec![wire::Match::default()]);
    allow.dry_run = true;
    assert_eq!(effect(vec![allow], &from(Some(CART))), Effect::Allow);
}

#[test]
fn r24_a_policy_does_not_apply_to_a_connection_that_is_exempt_from_it() {
    let exempt = Connection {
        exempt_from: vec!["shop/p".into()],
        ..from(None)
    };
    let denying = everyone(wire::Action::Deny);
    assert_eq!(effect(vec![denying.clone()], &exempt), Effect::Allow);
    let another = wire::Authorization {
        name: "q".into(),
        ..denying.clone()
    };
    assert_eq!(effect(vec![denying, another], &exempt), Effect::Deny);
}

#[test]
fn r21_text_is_literal() {
    let principal = |value: &str| wire::Match {
        principals: vec![exact(value)],
        ..Default::default()
    };
    let odd = ["cluster.local/ns/a.b/sa/c", "cluster.local/ns/a/sa/x.y"];
    for name in odd {
        let source = from(Some(&format!("spiffe://{name}")));
        assert!(denies(principal(name), &source), "{name}");
        // A dot stands for a dot only.
        assert!(
            !denies(
                principal(&name.replace("a.b", "aXb").replace("x.y", "xXy")),
                &source
            ),
            "{name}"
        );
    }
    let source = from(Some(CART));
    for pattern in [
        "*",
        "cluster.local/*",
        "cluster.local/ns/shop/sa/*",
        ".*",
        "^.*$",
        "cluster.local/ns/shop/sa/[c]art",
        "cluster.local/ns/shop/sa/ca?t",
        "cluster.local/ns/shop/sa/cart\\",
        "cluster\\.local/ns/shop/sa/cart",
        "clusterXlocal/ns/shop/sa/cart",
        "cluster.local/ns/shop/sa/CART",
        "cluster.local/ns/shop/sa/cаrt",
        "spiffe://cluster.local/ns/shop/sa/cart",
        "",
    ] {
        assert!(!denies(principal(pattern), &source), "{pattern:?}");
        let prefix = wire::Match {
            principals: vec![text(MatchType::Prefix(pattern.into()))],
            ..Default::default()
        };
        assert_eq!(denies(prefix, &source), pattern.is_empty(), "{pattern:?}");
    }
    for literal in ["a*b", "a[b", "a\\b", "a.b", "ä"] {
        assert!(StringMatch::Exact(literal.into()).fits(Some(literal)));
        assert!(!StringMatch::Exact(literal.into()).fits(Some("ab")));
        assert!(StringMatch::Prefix(literal.into()).fits(Some(&format!("{literal}x"))));
        assert!(StringMatch::Suffix(literal.into()).fits(Some(&format!("x{literal}"))));
        assert!(!StringMatch::Suffix(literal.into()).fits(Some("xaZb")));
    }
}

#[test]
fn every_property_is_compared() {
    let net = |a: [u8; 4], length| wire::Address {
        address: a.to_vec().into(),
        length,
    };
    let account = |ns: &str, sa: &str| wire::ServiceAccountMatch {
        namespace: ns.into(),
        service_account: sa.into(),
    };
    let source = from(Some(CART));
    let base = wire::Match::default;
    assert!(denies(
        wire::Match {
            namespaces: vec![exact("x"), exact("shop")],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            not_namespaces: vec![exact("shop")],
            ..base()
        },
        &source
    ));
    assert!(denies(
        wire::Match {
            source_ips: vec![net([10, 1, 0, 0], 16)],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            source_ips: vec![net([10, 2, 0, 0], 16)],
            ..base()
        },
        &source
    ));
    assert!(denies(
        wire::Match {
            destination_ips: vec![net([10, 2, 0, 9], 32)],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            not_destination_ips: vec![net([0, 0, 0, 0], 0)],
            ..base()
        },
        &source
    ));
    assert!(denies(
        wire::Match {
            destination_ports: vec![80, 8080],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            not_destination_ports: vec![8080],
            ..base()
        },
        &source
    ));
    assert!(denies(
        wire::Match {
            service_accounts: vec![account("shop", "cart")],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            service_accounts: vec![account("shop", "car")],
            ..base()
        },
        &source
    ));
    assert!(!denies(
        wire::Match {
            not_service_accounts: vec![account("shop", "cart")],
            ..base()
        },
        &source
    ));
    // Properties of one match: all of them.
    assert!(!denies(
        wire::Match {
            namespaces: vec![exact("shop")],
            destination_ports: vec![80],
            ..base()
        },
        &source
    ));
}

#[test]
fn malformed_policies_are_refused() {
    let with = |m: wire::Match| Policy::parse(policy(wire::Action::Deny, vec![m])).is_err();
    let net = |address: Vec<u8>, length| wire::Address {
        address: address.into(),
        length,
    };
    assert!(with(wire::Match {
        source_ips: vec![net(vec![10, 0, 0, 1], 33)],
        ..Default::default()
    }));
    assert!(with(wire::Match {
        source_ips: vec![net(vec![10, 0, 0], 8)],
        ..Default::default()
    }));
    assert!(with(wire::Match {
        destination_ports: vec![65_536],
        ..Default::default()
    }));
    assert!(with(wire::Match {
        principals: vec![wire::StringMatch { match_type: None }],
        ..Default::default()
    }));
    let mut unknown = policy(wire::Action::Deny, vec![]);
    unknown.action = 7;
    assert!(Policy::parse(unknown).is_err());
}
