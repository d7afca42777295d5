use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::existing::Seen;
use super::failure::Failure;
use super::machine::{Facts, Rules, Step, Wanted, next};
use super::node::Node;
use crate::cluster::PodView;
use crate::jitter::jittered;
use crate::netns::{Netns, NetnsId};
use crate::ports::Listeners;
use crate::report::{PodCondition, PodReport, PodState};
use crate::sockets::ConnectionTracker;
use crate::zds::Serving;

/// What should become of one pod; replaced whole, the newest counts.
#[derive(Clone, Debug)]
pub struct Desired {
    pub wanted: Wanted,
    pub pod: PodView,
    /// The namespace the CNI plugin brought; without it the worker looks for it.
    pub namespace: Option<Netns>,
}

/// How far the worker has come, for whoever waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The namespace it works on.
    pub namespace: Option<NetnsId>,
    /// MeshNode has been told that this namespace is captured (see [`crate::report::StatusStore::written`]).
    pub captured: bool,
    /// What stands in the way now.
    pub failure: Option<String>,
    /// It is not worth waiting for.
    pub definite: bool,
}

/// What is left of a pod's enrolment by an agent before this one.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// Where it could be found.
    pub namespace: Option<Netns>,
    /// The mesh's ports in it, where they could be had.
    pub listeners: Option<Listeners>,
    /// Proxies are to hold it already.
    pub handed: bool,
    /// It was reported as captured.
    pub announced: bool,
}

/// Takes one pod's steps, one after the other.
pub struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) uid: String,
    desired: watch::Receiver<Desired>,
    progress: watch::Sender<Progress>,
    pub(super) own: Own,
    failures: u32,
    last_failure: Option<String>,
}

/// What the worker knows to have done.
#[derive(Debug)]
pub(super) struct Own {
    pub namespace: Option<Netns>,
    /// The mesh's ports in it.
    pub listeners: Option<Listeners>,
    pub handed: bool,
    /// The proxy has heard that the pod is being enrolled, or is waited for no longer.
    pub exempt: bool,
    /// Since when it is waited for.
    pub exempt_since: Option<Instant>,
    /// Since when a proxy's answer is waited for.
    pub waiting_since: Option<Instant>,
    pub rules: Rules,
    /// What the capturing rules, and the node's, were made from.
    pub written: Option<Written>,
    pub announced: bool,
    /// When the capturing rules were written, or found.
    pub captured_at: Instant,
    pub tracker: ConnectionTracker,
    pub seen: Seen,
    pub next_look: Instant,
    /// When MeshNode was told that the pod is not captured any more.
    pub withdrawn_at: Instant,
    /// Peers know that, as far as can be told.
    pub settled: bool,
    /// When the slowest of them can be expected to.
    pub lag_until: Instant,
    /// When to stop waiting for the proxy's connections to end.
    pub drain_until: Instant,
    /// When a refused pod is handed over again.
    pub retry_at: Option<Instant>,
    /// How often in a row it was refused.
    pub refusals: u32,
    pub wanted_since: Instant,
}

/// What of a pod its rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub ips: Vec<IpAddr>,
    pub probe_ports: BTreeSet<u16>,
}

impl From<&PodView> for Written {
    fn from(pod: &PodView) -> Self {
        Self {
            ips: pod.ips.clone(),
            probe_ports: pod.probe_ports.clone(),
        }
    }
}

impl Own {
    pub fn absent() -> Self {
        let now = Instant::now();
        Self {
            namespace: None,
            listeners: None,
            handed: false,
            exempt: false,
            exempt_since: None,
            waiting_since: None,
            rules: Rules::None,
            written: None,
            announced: false,
            captured_at: now,
            tracker: ConnectionTracker::default(),
            seen: Seen::default(),
            next_look: now,
            withdrawn_at: now,
            settled: false,
            lag_until: now,
            drain_until: now,
            retry_at: None,
            refusals: 0,
            wanted_since: now,
        }
    }
}

/// What a step that did not fail asks for.
pub(super) enum Taken {
    /// The next step now.
    On,
    /// The same again, or another, after a pause or when something changes.
    Pause(Duration),
}

/// First wait after a failure; doubles to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The wait after so many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    jittered(
        FIRST_WAIT
            .saturating_mul(1 << failures.min(10))
            .min(LONGEST_WAIT),
    )
}

impl Worker {
    pub fn new(
        node: Arc<Node>,
        desired: watch::Receiver<Desired>,
        progress: watch::Sender<Progress>,
        adopted: Option<Adopted>,
    ) -> Self {
        let uid = desired.borrow().pod.uid.clone();
        let mut own = Own::absent();
        if let Some(adopted) = adopted {
            own = Own {
                handed: adopted.handed,
                rules: Rules::Unknown,
                announced: adopted.announced,
                namespace: adopted.namespace,
                listeners: adopted.listeners,
                ..own
            };
        }
        Self {
            node,
            uid,
            desired,
            progress,
            own,
            failures: 0,
            last_failure: None,
        }
    }

    /// Works until nothing of ours is left and nothing is wanted.
    pub async fn run(&mut self) {
        let mut proxies = self.node.proxies.watch();
        let mut observations = self.node.observations.watch();
        let mut last = None;
        loop {
            proxies.mark_unchanged();
            observations.mark_unchanged();
            let desired = self.desired.borrow_and_update().clone();
            let step = next(desired.wanted, self.facts(&desired));
            if last != Some(step) {
                info!(workload = %desired.pod.name, namespace = %desired.pod.namespace, uid = %self.uid, ?step, "step");
                last = Some(step);
            }
            if step == Step::Done {
                self.own = Own::absent();
                return;
            }
            let pause = match self.take(step, &desired).await {
                Ok(Taken::On) => {
                    self.failures = 0;
                    self.last_failure = None;
                    continue;
                }
                Ok(Taken::Pause(pause)) => pause,
                Err(failure) => self.failed(&desired, step, &failure),
            };
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { return },
                _ = proxies.changed(), if matches!(step, Step::Hand | Step::Look) => {}
                _ = observations.changed(), if matches!(step, Step::Exempt | Step::Look | Step::Settle) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn facts(&self, desired: &Desired) -> Facts {
        let moved = match (&self.own.namespace, &desired.namespace) {
            (Some(own), Some(wanted)) => own != wanted,
            _ => false,
        };
        Facts {
            found: self.own.namespace.is_some(),
            moved,
            handed: self.own.handed,
            served: self.own.handed && self.node.proxies.serving(&self.uid) == Serving::Served,
            // A pod that starts has no peers yet.
            exempt: self.own.exempt || desired.namespace.is_some(),
            rules: self.rules(&desired.pod),
            announced: self.own.announced,
            settled: self.own.settled,
        }
    }

    /// The rules in the pod; what was made from other addresses or probe ports is written again.
    fn rules(&self, pod: &PodView) -> Rules {
        let is_current = self.own.written.as_ref() == Some(&Written::from(pod));
        match self.own.rules {
            Rules::Capture if !is_current => Rules::Unknown,
            rules => rules,
        }
    }

    /// Reports a failure, once where it repeats, and says how long to wait.
    fn failed(&mut self, desired: &Desired, step: Step, failure: &Failure) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // Once it is mended the pod's connections are looked at without delay.
        self.own.next_look = Instant::now();
        let description = format!("{}: {failure}", failure.reason());
        if self.last_failure.as_ref() != Some(&description) {
            self.node.metrics.failed(failure.reason());
            warn!(
                workload = %desired.pod.name, namespace = %desired.pod.namespace, uid = %self.uid,
                ?step, reason = failure.reason(), err = %failure, "step failed"
            );
            if desired.wanted != Wanted::Ended {
                self.report(
                    desired,
                    PodCondition::failed(failure.reason(), failure.to_string()),
                );
            }
            self.progress.send_modify(|progress| {
                progress.failure = Some(description.clone());
                progress.definite = failure.is_definite();
            });
            self.last_failure = Some(description);
        }
        backoff(self.failures)
    }

    /// Says how the pod stands; `captured` is what the worker has announced.
    pub(super) fn report(&self, desired: &Desired, condition: PodCondition) -> u64 {
        self.node.store.set_pod(
            &self.uid,
            PodReport::new(&desired.pod, self.own.announced, condition),
        )
    }

    pub(super) fn is_reported(&self, state: PodState) -> bool {
        let reported = self.node.store.pod(&self.uid);
        reported.is_some_and(|pod| pod.state == state)
    }

    pub(super) fn tell_progress(&self) {
        let progress = Progress {
            namespace: self.own.namespace.as_ref().map(Netns::id),
            captured: self.own.announced && self.own.rules == Rules::Capture,
            failure: None,
            definite: false,
        };
        self.progress.send_replace(progress);
    }
}
