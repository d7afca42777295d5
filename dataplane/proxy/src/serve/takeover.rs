//! Whether this proxy has taken over the pods of its node: its readiness, and with it the end of
//! the proxy before it.
//!
//! ```text
//!  LISTING ── snapshot ──▶ TRYING ── each pod of it served, or refused for itself ──▶ TAKEN OVER (for good)
//!     ▲                      │
//!     └── the agent goes ────┘
//! ```
//!
//! What comes after the snapshot is told of the pod alone. See docs/adr/0017.
use std::collections::{HashMap, HashSet};

/// How it went with one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    Served,
    /// Its own ports are taken, say: no proxy could serve it.
    OwnFault,
    /// The authority refuses this identity.
    Refused {
        identity: String,
    },
    /// What this proxy lacks.
    ProxysFault,
}

/// How it went with each pod that was asked for, and whether that was enough.
#[derive(Default)]
pub struct TakeOver {
    phase: Phase,
    tried: HashMap<String, Tried>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Listing,
    /// These pods were in the snapshot.
    Trying(HashSet<String>),
    Done,
}

impl TakeOver {
    pub fn tried(&mut self, uid: String, how: Tried) {
        self.tried.insert(uid, how);
        self.advance();
    }

    /// The pod is the proxy's no longer.
    pub fn forget(&mut self, uid: &str) {
        self.tried.remove(uid);
        if let Phase::Trying(listed) = &mut self.phase {
            listed.remove(uid);
        }
        self.advance();
    }

    /// Every pod there is has been named.
    pub fn snapshot(&mut self, listed: &HashSet<String>) {
        self.tried.retain(|uid, _| listed.contains(uid));
        if !self.is_done() {
            self.phase = Phase::Trying(listed.clone());
            self.advance();
        }
    }

    /// The agent has gone: what it did not tell the next one will.
    pub fn disconnected(&mut self) {
        if !self.is_done() {
            self.phase = Phase::Listing;
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// How many pods could not be served.
    pub fn failed(&self) -> usize {
        let failed = self.tried.values().filter(|how| **how != Tried::Served);
        failed.count()
    }

    fn advance(&mut self) {
        let Phase::Trying(listed) = &self.phase else {
            return;
        };
        let tried: Option<Vec<&Tried>> = listed.iter().map(|uid| self.tried.get(uid)).collect();
        if tried.is_some_and(|tried| is_enough(&tried)) {
            self.phase = Phase::Done;
        }
    }
}

/// Whether no proxy could do better. An authority that refuses several identities and grants none
/// refuses the proxy.
fn is_enough(tried: &[&Tried]) -> bool {
    let refused: HashSet<&str> = tried
        .iter()
        .filter_map(|how| match how {
            Tried::Refused { identity } => Some(identity.as_str()),
            _ => None,
        })
        .collect();
    let is_refused_itself = refused.len() > 1 && !tried.contains(&&Tried::Served);
    !tried.contains(&&Tried::ProxysFault) && !is_refused_itself
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(identity: &str) -> Tried {
        Tried::Refused {
            identity: identity.to_owned(),
        }
    }

    /// After a snapshot of as many pods as were tried.
    fn after(tried: &[Tried]) -> TakeOver {
        let mut take_over = TakeOver::default();
        let uids: Vec<_> = (0..tried.len()).map(|uid| uid.to_string()).collect();
        for (uid, how) in uids.iter().zip(tried) {
            take_over.tried(uid.clone(), how.clone());
        }
        assert!(!take_over.is_done(), "there may be more pods");
        take_over.snapshot(&uids.into_iter().collect());
        take_over
    }

    #[test]
    fn r38_what_is_wrong_with_single_pods_does_not_count() {
        assert!(after(&[]).is_done());
        assert!(after(&[Tried::Served, Tried::OwnFault, refused("a")]).is_done());
        assert!(after(&[refused("a")]).is_done());
        assert!(after(&[refused("a"), refused("a")]).is_done());
        assert_eq!(after(&[Tried::Served, refused("a")]).failed(), 1);
    }

    #[test]
    fn r25_what_is_wrong_with_the_proxy_does() {
        assert!(!after(&[Tried::Served, Tried::ProxysFault]).is_done());
        assert!(!after(&[refused("a"), refused("b")]).is_done());
        assert!(after(&[refused("a"), refused("b"), Tried::Served]).is_done());
    }

    #[test]
    fn r25_each_pod_of_the_snapshot_is_waited_for_and_none_that_comes_later() {
        let mut take_over = TakeOver::default();
        take_over.snapshot(&["a", "b", "c"].map(str::to_owned).into());
        take_over.tried("late".into(), Tried::ProxysFault);
        take_over.tried("a".into(), Tried::Served);
        take_over.tried("b".into(), Tried::ProxysFault);
        take_over.forget("c");
        assert!(!take_over.is_done());
        take_over.tried("b".into(), Tried::Served);
        assert!(take_over.is_done());
        take_over.tried("a".into(), Tried::ProxysFault);
        take_over.disconnected();
        assert!(take_over.is_done(), "for good");
    }

    #[test]
    fn what_an_agent_has_not_told_to_its_end_the_next_tells_anew() {
        let mut take_over = TakeOver::default();
        take_over.snapshot(&["a".to_owned()].into());
        take_over.disconnected();
        take_over.tried("a".into(), Tried::Served);
        assert!(!take_over.is_done());
        take_over.snapshot(&["a".to_owned()].into());
        assert!(take_over.is_done());
    }
}
