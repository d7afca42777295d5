//! Taking over what an agent before this one enrolled.
//!
//! ```text
//!  a pod with processes ─┬─ a table of ours in a namespace of its ──► adopted, with that namespace
//!                        ├─ none ──────────────────────────────────► nothing to take over
//!                        └─ cannot be told ─┬─ reported as captured ► adopted: it stays so
//!                                           └─ not reported so ─────► looked at again
//! ```
//!
//! A pod without processes cannot be told either. An adopted pod goes on or leaves in order, as is
//! wanted; one the API server does not know goes on as it was reported, as it would have under the
//! agent before, and leaves where it was not.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};
use tulle_names::may_be_enrolled;

use super::decision::Decision;
use super::enroller::{Enroller, wanted};
use super::machine::Wanted;
use super::worker::{Adopted, Desired};
use crate::cluster::{PodView, View};
use crate::netns::Netns;
use crate::report::{PodState, PodStatus};

/// What a look at a pod has shown.
enum Look {
    /// Rules of ours are in this namespace.
    Rules(Netns),
    None,
    /// None of its namespaces has one of its addresses.
    Nowhere,
    /// It cannot be told; they may be in this namespace.
    Unknown(Option<Netns>),
}

impl Enroller {
    /// Takes over the pods an agent before this one enrolled: found again by
    /// their rules, handed to the proxies again, never let go of in between.
    /// To be called once, with a synced view, before proxies can connect: what
    /// a proxy is not told of at first, it drops.
    pub async fn adopt(self: &Arc<Self>) -> std::io::Result<()> {
        let view = self.node.view.borrow().clone();
        let processes = self.node.finder.processes()?;
        for (uid, pids) in &processes {
            self.adopt_one(&view, uid, pids).await;
        }
        // Its sandbox may be on its way to be made anew.
        let is_without_process = |pod: &PodStatus| {
            pod.captured && view.pods.contains_key(&pod.uid) && !processes.contains_key(&pod.uid)
        };
        for pod in self
            .node
            .store
            .pods()
            .iter()
            .filter(|pod| is_without_process(pod))
        {
            self.adopt_one(&view, &pod.uid, &BTreeSet::new()).await;
        }
        let adopted = {
            let mut pods = self.lock();
            let is_not_started = |pod: &PodStatus| {
                let in_view = view.pods.get(&pod.uid);
                let has_no_sandbox = in_view.is_some_and(|pod| pod.ips.is_empty());
                pod.state == PodState::Failed && !pod.captured && has_no_sandbox
            };
            let reported = self.node.store.pods().into_iter();
            let not_started = reported.filter(is_not_started).map(|pod| pod.uid);
            pods.not_started.extend(not_started);
            self.node.store.retain_pods(|uid| {
                pods.entries.contains_key(uid) || pods.not_started.contains(uid)
            });
            pods.entries.len()
        };
        info!(adopted, "took over the pods enrolled before");
        Ok(())
    }

    /// Looks again at pods of which nothing could be told.
    pub(super) async fn adopt_unsettled(self: &Arc<Self>, view: &View) {
        let unsettled = std::mem::take(&mut self.lock().unsettled);
        if unsettled.is_empty() {
            return;
        }
        match self.node.finder.processes() {
            Ok(processes) => {
                for uid in unsettled {
                    let is_known = self.lock().entries.contains_key(&uid);
                    if let Some(pids) = processes.get(&uid).filter(|_| !is_known) {
                        self.adopt_one(view, &uid, pids).await;
                    }
                }
            }
            Err(error) => {
                warn!(err = %error, "cannot read the process table");
                self.lock().unsettled.extend(unsettled);
            }
        }
    }

    async fn adopt_one(self: &Arc<Self>, view: &View, uid: &str, pids: &BTreeSet<i32>) {
        let in_view = view.pods.get(uid);
        let can_be_ours =
            |pod: &PodView| !pod.host_network && !pod.has_ended && may_be_enrolled(&pod.namespace);
        if in_view.is_some_and(|pod| !can_be_ours(pod)) {
            return;
        }
        let last = self.node.store.pod(uid);
        let pod = described(uid, in_view, last.as_ref());
        let was_captured = last.as_ref().is_some_and(|last| last.captured);
        // Its rules are where it was, whatever address it has been given since.
        let mut ips = pod.ips.clone();
        ips.extend(last.into_iter().flat_map(|last| last.ips));
        let namespace = match self.look_for_rules(&pod, pids, &ips).await {
            Look::Rules(namespace) => Some(namespace),
            Look::Unknown(namespace) if was_captured => namespace,
            Look::Nowhere if was_captured => None,
            Look::Unknown(_) => {
                self.lock().unsettled.insert(uid.to_owned());
                return;
            }
            Look::None | Look::Nowhere => return,
        };
        let wanted = match in_view.map(|pod| wanted(view, pod)) {
            Some(Some(Decision::Enrol) | None) => Wanted::In,
            None if was_captured => Wanted::In,
            _ => Wanted::Out,
        };
        self.adopt_pod(pod, namespace, wanted, was_captured).await;
    }

    async fn look_for_rules(&self, pod: &PodView, pids: &BTreeSet<i32>, ips: &[IpAddr]) -> Look {
        let told = |error: &dyn std::fmt::Display| {
            warn!(workload = %pod.name, namespace = %pod.namespace, uid = %pod.uid, err = %error, "cannot look for rules in a pod");
        };
        let fitting = self.node.finder.namespaces(&pod.uid, pids, ips);
        let candidates = match fitting.await {
            Ok(candidates) if candidates.is_empty() => return Look::Nowhere,
            Ok(candidates) => candidates,
            Err(error) => {
                told(&error);
                return Look::Unknown(None);
            }
        };
        let mut unknown = None;
        for candidate in candidates {
            match self.node.rule_installer.has_pod_rules(&candidate).await {
                Ok(true) => return Look::Rules(candidate),
                Ok(false) => {}
                Err(error) => {
                    told(&error);
                    unknown.get_or_insert(candidate);
                }
            }
        }
        unknown.map_or(Look::None, |namespace| Look::Unknown(Some(namespace)))
    }

    async fn adopt_pod(
        self: &Arc<Self>,
        pod: PodView,
        namespace: Option<Netns>,
        wanted: Wanted,
        announced: bool,
    ) {
        let mut adopted = Adopted {
            announced,
            ..Adopted::default()
        };
        if let Some(namespace) = namespace {
            if let Err(error) = self.node.addresses.add(&pod.uid, &pod.ips).await {
                warn!(workload = %pod.name, namespace = %pod.namespace, err = %error, "cannot write the node's table");
            }
            // A pod nobody can describe any more is no proxy's either: it only leaves.
            if !pod.name.is_empty() {
                adopted.listeners = match self.node.ports.take(&namespace).await {
                    Ok(listeners) => Some(listeners),
                    Err(error) => {
                        warn!(workload = %pod.name, namespace = %pod.namespace, err = %error, "cannot take over the mesh's ports in a pod");
                        None
                    }
                };
                self.node
                    .hand_over(&pod, namespace.clone(), adopted.listeners.clone());
                adopted.handed = true;
            }
            adopted.namespace = Some(namespace);
        }
        let uid = pod.uid.clone();
        let desired = Desired {
            wanted,
            pod,
            namespace: None,
        };
        let mut pods = self.lock();
        let entry = self.spawn(desired, Some(adopted), None);
        pods.entries.insert(uid, entry);
    }
}

/// A pod by the view and by what was reported of it: the API server may not have its addresses
/// yet, or not the pod any more.
fn described(uid: &str, in_view: Option<&PodView>, last: Option<&PodStatus>) -> PodView {
    let last = last.cloned().map(PodView::from);
    match (in_view, last) {
        (Some(pod), Some(last)) if pod.ips.is_empty() => PodView {
            ips: last.ips,
            ..pod.clone()
        },
        (Some(pod), _) => pod.clone(),
        (None, Some(last)) => last,
        (None, None) => PodView {
            uid: uid.to_owned(),
            ..PodView::default()
        },
    }
}
