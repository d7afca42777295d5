use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use tulle_names::{MODE_AMBIENT, may_be_enrolled};

use super::decision::{Decision, decide};
use super::machine::Wanted;
use super::node::Node;
use super::outside::outside;
use super::worker::{Adopted, Desired, Progress, Worker};
use crate::cluster::{PodView, View};
use crate::netns::Netns;
use crate::report::{PodReport, PodState};

/// How long the CNI plugin's fresh answer counts more than the watch, which may lag behind it.
const FRESH: Duration = Duration::from_secs(10);
/// How often to look again at what no event announces (ended processes, passed deadlines).
const RECHECK: Duration = Duration::from_secs(5);

/// Keeps a worker for every pod that is in the mesh or should be.
pub struct Enroller {
    pub(super) node: Arc<Node>,
    pods: Mutex<Pods>,
    /// Number of workers.
    busy: watch::Sender<usize>,
}

#[derive(Default)]
pub(super) struct Pods {
    pub(super) entries: HashMap<String, Entry>,
    /// Pods whose sandbox is over while the API server still shows them
    /// running: only a new sandbox brings them back.
    ended: BTreeSet<String>,
    /// Those of them that had failed to be enrolled: reported so until a new sandbox is enrolled.
    pub(super) not_started: BTreeSet<String>,
    /// Pods reported without a worker, and how.
    outside: BTreeMap<String, PodReport>,
    /// Pods that may have rules of an agent before this one; it could not be told yet.
    pub(super) unsettled: BTreeSet<String>,
}

pub(super) struct Entry {
    desired: watch::Sender<Desired>,
    progress: watch::Receiver<Progress>,
    /// The sandbox the CNI plugin brought; `None` for pods that ran before.
    container: Option<String>,
    fresh_until: Instant,
}

/// The way of a starting pod.
pub struct Started {
    pub progress: watch::Receiver<Progress>,
}

impl Enroller {
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            node,
            pods: Mutex::default(),
            busy: watch::Sender::new(0),
        })
    }

    /// Follows the view for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut view = self.node.view.clone();
        loop {
            let now = view.borrow_and_update().clone();
            self.reconcile(&now).await;
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RECHECK) => {}
            }
        }
    }

    /// Brings every pod's desired to what the view says. A view that cannot be
    /// believed (see [`View::is_plausible`]) changes nothing.
    async fn reconcile(self: &Arc<Self>, view: &View) {
        if !view.is_synced() || (view.mesh.is_none() && !view.is_mesh_gone()) {
            return;
        }
        for pod in view.pods.values() {
            if let Some(decision) = wanted(view, pod) {
                self.apply(pod, decision);
            }
        }
        self.adopt_unsettled(view).await;
        self.end_vanished(view).await;
    }

    fn apply(self: &Arc<Self>, pod: &PodView, decision: Decision) {
        let mut pods = self.lock();
        if decision != Decision::Enrol && pods.not_started.remove(&pod.uid) {
            self.node.store.remove_pod(&pod.uid);
        }
        self.report_outside(&mut pods, pod, decision);
        let wanted = match decision {
            Decision::Enrol => Wanted::In,
            Decision::Ended => Wanted::Ended,
            Decision::NotInMesh
            | Decision::HostNetwork
            | Decision::UnknownMode
            | Decision::OptedOut => Wanted::Out,
        };
        // A pod without addresses has no sandbox yet: the CNI plugin brings it.
        let can_be_found = !pod.ips.is_empty() && !pods.ended.contains(&pod.uid);
        match pods.entries.get(&pod.uid) {
            Some(entry) => entry.wish_for(pod, wanted),
            None if wanted == Wanted::In && can_be_found => {
                let desired = Desired {
                    wanted,
                    pod: pod.clone(),
                    namespace: None,
                };
                let entry = self.spawn(desired, None, None);
                pods.not_started.remove(&pod.uid);
                pods.entries.insert(pod.uid.clone(), entry);
            }
            None => {}
        }
    }

    /// A pod that somebody seems to want in the mesh and that is not in it is told of. While a
    /// worker has it, the worker speaks for it.
    fn report_outside(&self, pods: &mut Pods, pod: &PodView, decision: Decision) {
        let has_worker = pods.entries.contains_key(&pod.uid);
        let Some(condition) = outside(pod, decision) else {
            if pods.outside.remove(&pod.uid).is_some() && !has_worker {
                self.node.store.remove_pod(&pod.uid);
            }
            return;
        };
        let report = PodReport::new(pod, false, condition);
        let before = pods.outside.insert(pod.uid.clone(), report.clone());
        if before.as_ref() != Some(&report) && !has_worker {
            self.node.store.set_pod(&pod.uid, report);
        }
    }

    /// Pods the API server no longer has are let go of once no process of
    /// theirs is left: an API server that forgot them does not end them.
    async fn end_vanished(self: &Arc<Self>, view: &View) {
        let vanished: Vec<String> = {
            let mut pods = self.lock();
            pods.ended.retain(|uid| view.pods.contains_key(uid));
            let not_started = &mut pods.not_started;
            for uid in not_started.extract_if(.., |uid| !view.pods.contains_key(uid)) {
                self.node.store.remove_pod(&uid);
            }
            let gone: Vec<String> = pods
                .outside
                .keys()
                .filter(|uid| !view.pods.contains_key(*uid))
                .cloned()
                .collect();
            for uid in gone {
                pods.outside.remove(&uid);
                if !pods.entries.contains_key(&uid) {
                    self.node.store.remove_pod(&uid);
                }
            }
            let is_vanished = |(uid, entry): &(&String, &Entry)| {
                !view.pods.contains_key(*uid)
                    && !entry.is_fresh()
                    && entry.desired.borrow().wanted != Wanted::Ended
            };
            pods.entries
                .iter()
                .filter(is_vanished)
                .map(|(uid, _)| uid.clone())
                .collect()
        };
        if vanished.is_empty() {
            return;
        }
        let running = match self.node.finder.processes() {
            Ok(running) => running,
            Err(error) => return warn!(err = %error, "cannot read the process table"),
        };
        let pods = self.lock();
        for entry in vanished
            .iter()
            .filter(|uid| !running.contains_key(*uid))
            .filter_map(|uid| pods.entries.get(uid))
        {
            entry
                .desired
                .send_modify(|desired| desired.wanted = Wanted::Ended);
        }
    }

    /// Enrols a pod whose sandbox is being made.
    pub fn start(self: &Arc<Self>, pod: PodView, namespace: Netns, container: &str) -> Started {
        let mut pods = self.lock();
        pods.ended.remove(&pod.uid);
        pods.not_started.remove(&pod.uid);
        let uid = pod.uid.clone();
        let desired = Desired {
            wanted: Wanted::In,
            pod,
            namespace: Some(namespace),
        };
        let entry = match pods.entries.remove(&uid) {
            Some(entry) => {
                entry.desired.send_replace(desired);
                Entry {
                    container: Some(container.to_owned()),
                    fresh_until: Instant::now() + FRESH,
                    ..entry
                }
            }
            None => self.spawn(desired, None, Some(container)),
        };
        let started = Started {
            progress: entry.progress.clone(),
        };
        pods.entries.insert(uid, entry);
        started
    }

    /// A sandbox is over. Another sandbox of the same pod may have taken its
    /// place already: that one stays. Returns whether it was a pod of ours.
    pub fn stop(
        &self,
        find: impl Fn(&PodView) -> bool,
        container: &str,
        namespace: Option<&Netns>,
    ) -> bool {
        let mut pods = self.lock();
        let Some((uid, entry)) = pods
            .entries
            .iter()
            .find(|(_, entry)| find(&entry.desired.borrow().pod))
        else {
            return false;
        };
        let is_this = match &entry.container {
            Some(known) => known == container,
            None => namespace
                .is_some_and(|namespace| entry.progress.borrow().namespace == Some(namespace.id())),
        };
        if is_this {
            entry
                .desired
                .send_modify(|desired| desired.wanted = Wanted::Ended);
            let uid = uid.clone();
            pods.ended.insert(uid);
        }
        is_this
    }

    /// Waits until no pod is enrolled any more.
    pub async fn all_left(&self) {
        // The sender is in self: the wait cannot fail.
        drop(self.busy.subscribe().wait_for(|busy| *busy == 0).await);
    }

    /// Namespaces whose pods must not start without the agent.
    pub fn enrolled_namespaces(view: &View) -> BTreeSet<String> {
        let labelled = view
            .namespaces
            .iter()
            .filter(|(_, one)| one.mode.as_deref() == Some(MODE_AMBIENT));
        let own = view
            .pods
            .values()
            .filter(|pod| pod.mode.as_deref() == Some(MODE_AMBIENT))
            .map(|pod| &pod.namespace);
        labelled
            .map(|(name, _)| name)
            .chain(own)
            .filter(|name| may_be_enrolled(name))
            .cloned()
            .collect()
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        desired: Desired,
        adopted: Option<Adopted>,
        container: Option<&str>,
    ) -> Entry {
        let uid = desired.pod.uid.clone();
        let (desired, desired_pods) = watch::channel(desired);
        let (sender, progress) = watch::channel(Progress {
            namespace: adopted
                .as_ref()
                .and_then(|adopted| Some(adopted.namespace.as_ref()?.id())),
            ..Progress::default()
        });
        let mut worker = Worker::new(Arc::clone(&self.node), desired_pods, sender, adopted);
        let enroller = Arc::clone(self);
        self.busy.send_modify(|busy| *busy += 1);
        tokio::spawn(async move {
            loop {
                worker.run().await;
                if enroller.retire(&uid) {
                    break;
                }
            }
            enroller.busy.send_modify(|busy| *busy -= 1);
        });
        let fresh_until = Instant::now()
            + if container.is_some() {
                FRESH
            } else {
                Duration::ZERO
            };
        Entry {
            desired,
            progress,
            container: container.map(str::to_owned),
            fresh_until,
        }
    }

    /// Forgets a pod whose worker has nothing left to do, unless it is wanted again.
    fn retire(&self, uid: &str) -> bool {
        let mut pods = self.lock();
        let is_wanted = pods
            .entries
            .get(uid)
            .is_some_and(|entry| entry.desired.borrow().wanted == Wanted::In);
        if !is_wanted {
            pods.entries.remove(uid);
            if let Some(report) = pods.outside.get(uid) {
                self.node.store.set_pod(uid, report.clone());
            } else if pods.ended.contains(uid) && self.has_failed(uid) {
                // The next sandbox is tried after a while: until then it is told why there is none.
                pods.not_started.insert(uid.to_owned());
            } else {
                self.node.store.remove_pod(uid);
            }
        }
        !is_wanted
    }

    fn has_failed(&self, uid: &str) -> bool {
        let reported = self.node.store.pod(uid);
        reported.is_some_and(|pod| pod.state == PodState::Failed && !pod.captured)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// The view's word; while the CNI plugin's is fresh it does not take the pod out.
    fn wish_for(&self, pod: &PodView, wanted: Wanted) {
        if self.is_fresh() && wanted != Wanted::In {
            return;
        }
        self.desired.send_if_modified(|desired| {
            // A sandbox that is over comes back only by the CNI plugin.
            let wanted = if desired.wanted == Wanted::Ended {
                Wanted::Ended
            } else {
                wanted
            };
            // The CNI plugin knows the addresses before the API server does.
            let ips = if pod.ips.is_empty() {
                desired.pod.ips.clone()
            } else {
                pod.ips.clone()
            };
            let pod = PodView { ips, ..pod.clone() };
            let is_changed = desired.wanted != wanted || desired.pod != pod;
            desired.wanted = wanted;
            desired.pod = pod;
            is_changed
        });
    }
}

/// What the view says of a pod; `None` while its namespace is not in the view.
pub(super) fn wanted(view: &View, pod: &PodView) -> Option<Decision> {
    let namespace = view.namespaces.get(&pod.namespace)?;
    // A Mesh that is not to be seen and not known to be gone is taken to be there.
    Some(decide(pod, namespace, !view.is_mesh_gone()))
}
