//! R23: random policies, decided by a second implementation that shares nothing with the first but
//! the wire's messages: it works on strings and bit lists. Where it differs, one of them does not
//! do what the wire says, which is, in the words of its description:
//!
//! - "Any matching DENY denies; with no ALLOW policy, allowed; any matching ALLOW allows; otherwise
//!   denied. Rules OR, clauses AND, matches OR, fields of a match AND, values of a field OR."
//! - "`dry_run` is evaluated and reported, never enforced."
//!
//! Those words leave open what an OR of nothing is. The wire's other implementations answer, and
//! the control plane writes it down (`src/policy/authorization.ts`): "a rule without clauses, or a
//! clause without matches, matches everything; a match that says nothing matches nothing".
use std::net::IpAddr;
use std::sync::Arc;

use super::{Connection, Effect, Policy, evaluate};
use tulle_wire::security as wire;
use wire::string_match::MatchType;

/// The connection in the oracle's own words.
struct Case {
    identity: Option<[&'static str; 3]>,
    from: [u8; 4],
    to: [u8; 4],
    port: u32,
    exempt_from: Vec<String>,
}

/// "any matching DENY denies; with no ALLOW policy, allowed; any matching ALLOW allows; otherwise
/// denied"
fn oracle(policies: &[wire::Authorization], case: &Case) -> bool {
    let (mut denied, mut allow_policies, mut allowed) = (false, 0, false);
    for policy in policies {
        // "never enforced"; nor what the connection is exempt from
        let name = format!("{}/{}", policy.namespace, policy.name);
        let enforced = !policy.dry_run && !case.exempt_from.contains(&name);
        let allow = policy.action == wire::Action::Allow as i32;
        let matching = ored(policy.rules.iter().map(|rule| rule_matches(rule, case)));
        denied |= enforced && !allow && matching == Some(true);
        allowed |= enforced && allow && matching == Some(true);
        allow_policies += usize::from(enforced && allow);
    }
    match (denied, allow_policies) {
        (true, _) => false,
        (false, 0) => true,
        (false, _) => allowed,
    }
}

/// None for an OR of nothing.
fn ored(answers: impl Iterator<Item = bool>) -> Option<bool> {
    answers.reduce(|one, other| one | other)
}

/// "clauses AND, matches OR"; "a rule without clauses, or a clause without matches, matches everything"
fn rule_matches(rule: &wire::Rule, case: &Case) -> bool {
    let mut clauses = rule.clauses.iter().map(|clause| {
        let matches = clause.matches.iter().map(|m| match_matches(m, case));
        ored(matches).unwrap_or(true)
    });
    clauses.all(|clause| clause)
}

/// "fields of a match AND, values of a field OR"; "a match that says nothing matches nothing"
fn match_matches(m: &wire::Match, case: &Case) -> bool {
    let namespace = case.identity.map(|[_, ns, _]| ns.to_owned());
    let principal = case
        .identity
        .map(|[td, ns, sa]| [td, "ns", ns, "sa", sa].join("/"));
    // What each field says, of those that say something.
    let mut said = Vec::new();
    let mut field = |wanted: Vec<bool>, unwanted: Vec<bool>| {
        said.extend(ored(wanted.into_iter()));
        said.extend(ored(unwanted.into_iter()).map(|any| !any));
    };
    let strings = |list: &[wire::StringMatch], value: &Option<String>| -> Vec<bool> {
        list.iter().map(|s| string(s, value.as_deref())).collect()
    };
    let nets = |list: &[wire::Address], ip: [u8; 4]| -> Vec<bool> {
        list.iter()
            .map(|n| bits(&n.address)[..n.length as usize] == bits(&ip)[..n.length as usize])
            .collect()
    };
    let ports = |list: &[u32]| -> Vec<bool> { list.iter().map(|p| *p == case.port).collect() };
    let accounts = |list: &[wire::ServiceAccountMatch]| -> Vec<bool> {
        list.iter()
            .map(|a| {
                case.identity
                    .is_some_and(|[_, ns, sa]| a.namespace == ns && a.service_account == sa)
            })
            .collect()
    };
    field(
        strings(&m.namespaces, &namespace),
        strings(&m.not_namespaces, &namespace),
    );
    field(
        strings(&m.principals, &principal),
        strings(&m.not_principals, &principal),
    );
    field(
        nets(&m.source_ips, case.from),
        nets(&m.not_source_ips, case.from),
    );
    field(
        nets(&m.destination_ips, case.to),
        nets(&m.not_destination_ips, case.to),
    );
    field(ports(&m.destination_ports), ports(&m.not_destination_ports));
    field(
        accounts(&m.service_accounts),
        accounts(&m.not_service_accounts),
    );
    said.into_iter().reduce(|one, other| one & other) == Some(true)
}

fn string(s: &wire::StringMatch, value: Option<&str>) -> bool {
    let value: Vec<char> = match value {
        Some(value) => value.chars().collect(),
        None => return false,
    };
    let chars = |text: &String| text.chars().collect::<Vec<_>>();
    match s.match_type.as_ref().unwrap() {
        MatchType::Presence(()) => true,
        MatchType::Exact(text) => chars(text) == value,
        MatchType::Prefix(text) => value.get(..text.chars().count()) == Some(&chars(text)),
        MatchType::Suffix(text) => {
            value.len() >= text.chars().count()
                && value[value.len() - text.chars().count()..] == chars(text)
        }
    }
}

fn bits(bytes: &[u8]) -> Vec<bool> {
    bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect()
}

const DOMAINS: [&str; 2] = ["cluster.local", "cluster-local"];
const NAMES: [&str; 4] = ["a", "a.b", "ab", "b"];
const TEXTS: [&str; 12] = [
    "",
    "a",
    "a.b",
    "b",
    "*",
    "cluster",
    "cluster.local/ns/a/sa/a",
    "cluster.local/ns/a.b/sa/b",
    "/sa/a",
    ".b",
    "[a]",
    "\\",
];

struct Maker(fastrand::Rng);

impl Maker {
    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        // Mostly empty: a match with every field set matches nothing.
        let count = if self.0.u8(..4) == 0 {
            self.0.usize(1..=most)
        } else {
            0
        };
        (0..count).map(|_| make(self)).collect()
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }

    fn ip(&mut self) -> [u8; 4] {
        [10, self.0.u8(..2), 0, self.0.u8(..4)]
    }

    fn string(&mut self) -> wire::StringMatch {
        let text = self.pick(&TEXTS).to_owned();
        wire::StringMatch {
            match_type: Some(match self.0.u8(..4) {
                0 => MatchType::Exact(text),
                1 => MatchType::Prefix(text),
                2 => MatchType::Suffix(text),
                _ => MatchType::Presence(()),
            }),
        }
    }

    fn net(&mut self) -> wire::Address {
        wire::Address {
            address: self.ip().to_vec().into(),
            length: self.0.u32(..=32),
        }
    }

    fn account(&mut self) -> wire::ServiceAccountMatch {
        wire::ServiceAccountMatch {
            namespace: self.pick(&NAMES).into(),
            service_account: self.pick(&NAMES).into(),
        }
    }

    fn port(&mut self) -> u32 {
        self.pick(&[80, 443])
    }

    fn one_match(&mut self) -> wire::Match {
        wire::Match {
            namespaces: self.some(2, Self::string),
            not_namespaces: self.some(2, Self::string),
            principals: self.some(2, Self::string),
            not_principals: self.some(2, Self::string),
            source_ips: self.some(2, Self::net),
            not_source_ips: self.some(2, Self::net),
            destination_ips: self.some(2, Self::net),
            not_destination_ips: self.some(2, Self::net),
            destination_ports: self.some(2, Self::port),
            not_destination_ports: self.some(2, Self::port),
            service_accounts: self.some(2, Self::account),
            not_service_accounts: self.some(2, Self::account),
        }
    }

    fn policy(&mut self) -> wire::Authorization {
        let mut policy = wire::Authorization {
            name: self.pick(&NAMES).into(),
            action: self.0.i32(0..2),
            dry_run: self.0.u8(..5) == 0,
            ..Default::default()
        };
        for _ in 0..self.0.usize(0..3) {
            let mut rule = wire::Rule::default();
            for _ in 0..self.0.usize(0..3) {
                let matches = (0..self.0.usize(0..3)).map(|_| self.one_match()).collect();
                rule.clauses.push(wire::Clause { matches });
            }
            policy.rules.push(rule);
        }
        policy
    }

    fn case(&mut self) -> Case {
        let identity = [self.pick(&DOMAINS), self.pick(&NAMES), self.pick(&NAMES)];
        Case {
            identity: (self.0.u8(..4) > 0).then_some(identity),
            from: self.ip(),
            to: self.ip(),
            port: self.port(),
            exempt_from: (self.0.u8(..3) == 0)
                .then(|| format!("/{}", self.pick(&NAMES)))
                .into_iter()
                .collect(),
        }
    }
}

#[test]
fn r23_evaluation_equals_the_oracle() {
    let seed = fastrand::u64(..);
    let mut maker = Maker(fastrand::Rng::with_seed(seed));
    let mut allowed = 0;
    for round in 0..20_000 {
        let policies: Vec<_> = (0..maker.0.usize(0..4)).map(|_| maker.policy()).collect();
        let case = maker.case();
        let connection = Connection {
            source: case
                .identity
                .map(|[td, ns, sa]| format!("spiffe://{td}/ns/{ns}/sa/{sa}").parse().unwrap()),
            source_ip: IpAddr::from(case.from),
            destination_ip: IpAddr::from(case.to),
            destination_port: case.port.try_into().unwrap(),
            exempt_from: case.exempt_from.clone(),
        };
        let parsed: Vec<_> = policies
            .iter()
            .cloned()
            .map(|p| Arc::new(Policy::parse(p).unwrap()))
            .collect();
        let ours = evaluate(&parsed, &connection).effect == Effect::Allow;
        assert_eq!(
            ours,
            oracle(&policies, &case),
            "seed {seed}, round {round}: {policies:#?} {connection:?}"
        );
        allowed += usize::from(ours);
    }
    // Neither answer may be the only one tried.
    assert!(
        (2_000..18_000).contains(&allowed),
        "{allowed} of 20000 allowed"
    );
}
