//! A pod's state machine. A worker knows what is ([`Facts`]) and what should
//! be ([`Wanted`]); [`next`] is the one step between them. Nothing is queued:
//! when the wish changes, the next step is another one, from where things stand.
//!
//! ```text
//!              Find        Hand          Write           Announce
//!    Absent ────────► Found ────► Acked ────────► Ruled ──────────► Captured ─┐ Look (older
//!      ▲                          ▲   (node's set,                     │  ▲   │ connections)
//!      │                          │    then rules)                     │  └───┘
//!      │ Sweep                    │ Hand, when no proxy serves it      │ Withdraw
//!      │ (rules off)              │ any more (rules stay: what the     ▼
//!    LetGo ◄──────── Drained ◄────┼─ pod sends is refused, never    Withdrawn
//!      (ZDS del, the   LetGo      │  plaintext)                        │ Drain (rules let new
//!       proxy drains)             └──────── wanted again ◄─────────────┘  connections pass)
//! ```
//!
//! In: the proxy acknowledges before there is a rule, rules are there before
//! peers are told to tunnel. Out: peers are told first, then new connections
//! pass, then the proxy is told to let go; what it had drains through the
//! rules that are left, and only then are those removed. A pod that has ended
//! is let go of at once: its namespace takes the rules with it.

/// What should become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// In the mesh.
    In,
    /// Running on, outside the mesh.
    Out,
    /// It has ended, or its sandbox has.
    Ended,
}

/// The table in the pod's namespace, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    None,
    /// Of an agent before this one; it may be of another version.
    Unknown,
    Capture,
    Drain,
}

/// What is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its namespace is open here.
    pub found: bool,
    /// The sandbox was made anew: the namespace that is open is not the pod's any more.
    pub moved: bool,
    /// It is among the pods proxies are to hold.
    pub handed: bool,
    /// A connected proxy has acknowledged it.
    pub served: bool,
    pub rules: Rules,
    /// MeshNode says captured, or may say so.
    pub announced: bool,
}

impl Facts {
    /// Nothing has been done.
    pub const ABSENT: Self = Self {
        found: false,
        moved: false,
        handed: false,
        served: false,
        rules: Rules::None,
        announced: false,
    };
}

/// One step. Each can be repeated, and each can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the pod's network namespace.
    Find,
    /// Hand it to the newest proxy and wait for the acknowledgement.
    Hand,
    /// Put its addresses into the node's set and the capturing rules into its namespace.
    Write,
    /// MeshNode: captured.
    Announce,
    /// Look for connections older than the capture. The steady state.
    Look,
    /// MeshNode: not captured.
    Withdraw,
    /// Let new connections pass; those the proxy has keep their way.
    Drain,
    /// Take it back from the proxies.
    LetGo,
    /// Wait until the proxy's connections are gone, then remove the rules.
    Sweep,
    /// Forget the namespace that is not the pod's any more.
    Forget,
    /// Nothing of ours is left.
    Done,
}

/// The next step from `facts` towards `wanted`.
pub fn next(wanted: Wanted, facts: Facts) -> Step {
    match wanted {
        Wanted::In if facts.moved => away(facts, Step::Forget),
        Wanted::In => towards(facts),
        Wanted::Out if !facts.found => away(facts, Step::Done),
        Wanted::Out => out(facts),
        Wanted::Ended => away(facts, Step::Done),
    }
}

fn towards(facts: Facts) -> Step {
    match facts {
        Facts { found: false, .. } => Step::Find,
        Facts { served: false, .. } => Step::Hand,
        Facts {
            rules: Rules::None | Rules::Unknown | Rules::Drain,
            ..
        } => Step::Write,
        Facts {
            announced: false, ..
        } => Step::Announce,
        _ => Step::Look,
    }
}

fn out(facts: Facts) -> Step {
    match facts {
        Facts {
            announced: true, ..
        } => Step::Withdraw,
        Facts {
            rules: Rules::Capture | Rules::Unknown,
            ..
        } => Step::Drain,
        Facts { handed: true, .. } => Step::LetGo,
        Facts {
            rules: Rules::Drain,
            ..
        } => Step::Sweep,
        _ => Step::Done,
    }
}

/// The namespace is gone or going: nothing in it needs to be undone, and no
/// peer reaches it any more, so the proxy need not wait for the announcement.
fn away(facts: Facts, last: Step) -> Step {
    if facts.handed {
        Step::LetGo
    } else if facts.announced {
        Step::Withdraw
    } else {
        last
    }
}

#[cfg(test)]
mod tests {
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
            Step::Write => Facts {
                rules: Rules::Capture,
                ..facts
            },
            Step::Announce => Facts {
                announced: true,
                ..facts
            },
            Step::Withdraw => Facts {
                announced: false,
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
        rules: Rules::Capture,
        announced: true,
    };

    #[test]
    fn a_pod_is_acknowledged_before_it_is_captured_and_captured_before_it_is_announced() {
        assert_eq!(
            way(Wanted::In, Facts::ABSENT),
            [
                Step::Find,
                Step::Hand,
                Step::Write,
                Step::Announce,
                Step::Look
            ]
        );
    }

    #[test]
    fn a_pod_leaves_in_the_order_announcement_rules_proxy() {
        assert_eq!(
            way(Wanted::Out, CAPTURED),
            [
                Step::Withdraw,
                Step::Drain,
                Step::LetGo,
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
        (any::<[bool; 5]>(), rules).prop_map(
            |([found, moved, handed, served, announced], rules)| Facts {
                found,
                moved,
                handed,
                served,
                rules,
                announced,
            },
        )
    }

    fn any_wanted() -> impl Strategy<Value = Wanted> {
        prop_oneof![Just(Wanted::In), Just(Wanted::Out), Just(Wanted::Ended)]
    }

    proptest! {
        /// However often the wish changes on the way, the last wish is reached,
        /// and no step ever announces what is not captured and served.
        #[test]
        fn every_wish_is_reached_from_everywhere(start in any_facts(), wishes in proptest::collection::vec((any_wanted(), 0usize..6), 1..12)) {
            let mut facts = start;
            for (wanted, steps) in &wishes {
                for _ in 0..*steps {
                    let step = next(*wanted, facts);
                    if step == Step::Announce {
                        prop_assert!(facts.served && facts.rules == Rules::Capture);
                    }
                    if step == Step::Write {
                        prop_assert!(facts.served);
                    }
                    if step == Step::LetGo && facts.found && *wanted == Wanted::Out {
                        prop_assert!(!facts.announced && facts.rules != Rules::Capture);
                    }
                    facts = after(step, facts);
                }
            }
            let (last, _) = wishes[wishes.len() - 1];
            way(last, facts);
        }
    }
}
