//! The ways a pod goes, and that it gets there from everywhere.
use proptest::prelude::*;

use super::*;

/// What a step does to the facts when it succeeds.
fn after(step: Step, facts: Facts) -> Facts {
    match step {
        Step::Find => Facts {
            found: true,
            ..facts
        },
        Step::Hand => Facts {
            handed: true,
            served: true,
            ..facts
        },
        Step::Exempt => Facts {
            exempt: true,
            ..facts
        },
        Step::Write => Facts {
            rules: Rules::Capture,
            ..facts
        },
        Step::Announce => Facts {
            announced: true,
            settled: false,
            ..facts
        },
        Step::Withdraw => Facts {
            announced: false,
            ..facts
        },
        Step::Settle => Facts {
            settled: true,
            ..facts
        },
        Step::Drain => Facts {
            rules: Rules::Drain,
            ..facts
        },
        Step::LetGo => Facts {
            handed: false,
            served: false,
            ..facts
        },
        Step::Sweep => Facts {
            rules: Rules::None,
            ..facts
        },
        Step::Forget => Facts::ABSENT,
        Step::Look | Step::Done => facts,
    }
}

fn way(wanted: Wanted, mut facts: Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let step = next(wanted, facts);
        steps.push(step);
        if matches!(step, Step::Look | Step::Done) {
            return steps;
        }
        facts = after(step, facts);
        assert!(steps.len() < 20, "{steps:?}");
    }
}

const CAPTURED: Facts = Facts {
    found: true,
    moved: false,
    handed: true,
    served: true,
    exempt: true,
    rules: Rules::Capture,
    announced: true,
    settled: false,
};

#[test]
fn a_pod_is_acknowledged_before_it_is_captured_and_captured_before_it_is_announced() {
    assert_eq!(
        way(Wanted::In, Facts::ABSENT),
        [
            Step::Find,
            Step::Hand,
            Step::Exempt,
            Step::Write,
            Step::Announce,
            Step::Look
        ]
    );
}

#[test]
fn r24_a_pod_that_starts_is_captured_without_waiting_for_control() {
    let starting = Facts {
        exempt: true,
        ..Facts::ABSENT
    };
    assert!(!way(Wanted::In, starting).contains(&Step::Exempt));
}

#[test]
fn a_pod_leaves_in_the_order_announcement_rules_proxy() {
    assert_eq!(
        way(Wanted::Out, CAPTURED),
        [
            Step::Withdraw,
            Step::Settle,
            Step::Drain,
            Step::LetGo,
            Step::Sweep,
            Step::Done
        ]
    );
}

#[test]
fn r35_rules_that_may_be_there_are_found_before_a_pod_is_done_with() {
    let unseen = Facts {
        rules: Rules::Unknown,
        announced: true,
        ..Facts::ABSENT
    };
    assert_eq!(
        way(Wanted::Out, unseen),
        [
            Step::Find,
            Step::Withdraw,
            Step::Drain,
            Step::Sweep,
            Step::Done
        ]
    );
}

#[test]
fn a_pod_whose_proxy_is_gone_stays_captured_and_is_handed_over_again() {
    assert_eq!(
        way(
            Wanted::In,
            Facts {
                served: false,
                ..CAPTURED
            }
        ),
        [Step::Hand, Step::Look]
    );
}

#[test]
fn a_pod_ruled_by_an_agent_before_is_never_let_go_of_in_between() {
    let adopted = Facts {
        handed: false,
        served: false,
        rules: Rules::Unknown,
        ..CAPTURED
    };
    assert_eq!(
        way(Wanted::In, adopted),
        [Step::Hand, Step::Write, Step::Look]
    );
}

#[test]
fn a_sandbox_made_anew_is_enrolled_from_the_start() {
    assert_eq!(
        way(
            Wanted::In,
            Facts {
                moved: true,
                ..CAPTURED
            }
        ),
        [
            Step::LetGo,
            Step::Withdraw,
            Step::Forget,
            Step::Find,
            Step::Hand,
            Step::Exempt,
            Step::Write,
            Step::Announce,
            Step::Look
        ]
    );
}

#[test]
fn a_pod_that_has_ended_is_only_let_go_of() {
    assert_eq!(
        way(Wanted::Ended, CAPTURED),
        [Step::LetGo, Step::Withdraw, Step::Done]
    );
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let rules = prop_oneof![
        Just(Rules::None),
        Just(Rules::Unknown),
        Just(Rules::Capture),
        Just(Rules::Drain)
    ];
    (any::<[bool; 7]>(), rules).prop_map(
        |([found, moved, handed, served, exempt, announced, settled], rules)| Facts {
            found,
            moved,
            handed,
            served,
            exempt,
            rules,
            announced,
            settled,
        },
    )
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![Just(Wanted::In), Just(Wanted::Out), Just(Wanted::Ended)]
}

proptest! {
    /// However often the desired changes on the way, the last desired is reached,
    /// and no step ever announces what is not captured and served.
    #[test]
    fn every_wish_is_reached_from_everywhere(start in any_facts(), desired_pods in proptest::collection::vec((any_wanted(), 0usize..6), 1..12)) {
        let mut facts = start;
        for (wanted, steps) in &desired_pods {
            for _ in 0..*steps {
                let step = next(*wanted, facts);
                if step == Step::Announce {
                    prop_assert!(facts.served && facts.rules == Rules::Capture);
                }
                if step == Step::Write {
                    prop_assert!(facts.served && (facts.exempt || facts.rules == Rules::Unknown));
                }
                if step == Step::Drain {
                    prop_assert!(!facts.announced && (facts.settled || !facts.handed));
                }
                if step == Step::LetGo && facts.found && *wanted == Wanted::Out {
                    prop_assert!(!facts.announced && facts.rules != Rules::Capture);
                }
                facts = after(step, facts);
            }
        }
        let (last, _) = desired_pods[desired_pods.len() - 1];
        way(last, facts);
    }
}
