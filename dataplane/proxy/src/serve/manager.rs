//! The pods of this node that are ours to serve.
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use tokio::time::Instant;

use super::listeners::Listeners;
use super::roster::{Entry, Roster};
use super::takeover::{TakeOver, Tried};
use crate::identity::manager::Missing;
use crate::inpod::netns::NetNs;
use crate::lock::lock;
use crate::pod::{MeshState, Pod};
use crate::shared::Shared;
use crate::spiffe::SpiffeId;
use crate::zds;

/// How long the agent waits for one pod, at most.
const ADD_LIMIT: Duration = Duration::from_secs(10);

/// One pod, for status pages: all its connections, whether it is served or has been let go.
pub struct Served {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub identity: SpiffeId,
    pub certificate_not_after: Option<SystemTime>,
    pub connections: usize,
    pub mesh_state: MeshState,
    /// Its ports are closed, or a successor's; what is open is being finished.
    pub draining: bool,
}

/// Why a pod is not served.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Its own ports are taken, say.
    #[error("{0}")]
    OfPod(String),
    #[error(transparent)]
    Certificate(#[from] Missing),
    /// What this proxy lacks.
    #[error("{0}")]
    OfProxy(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::OfProxy(reason)
    }
}

impl Fault {
    fn tried(&self) -> Tried {
        match self {
            Self::OfPod(_) => Tried::OwnFault,
            Self::Certificate(Missing::Refused { identity, .. }) => Tried::Refused {
                identity: identity.to_string(),
            },
            Self::Certificate(Missing::Late { .. }) | Self::OfProxy(_) => Tried::ProxysFault,
        }
    }
}

impl From<Fault> for zds::Refusal {
    fn from(fault: Fault) -> Self {
        let reason = match &fault {
            Fault::Certificate(Missing::Refused { .. }) => zds::RefusalReason::IdentityRefused,
            Fault::Certificate(Missing::Late { .. }) => zds::RefusalReason::NoCertificate,
            Fault::OfPod(_) | Fault::OfProxy(_) => zds::RefusalReason::Other,
        };
        Self {
            reason,
            message: fault.to_string(),
        }
    }
}

pub struct PodManager {
    shared: Arc<Shared>,
    roster: Mutex<Roster>,
    take_over: Mutex<TakeOver>,
    agent_connected: AtomicBool,
}

impl PodManager {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            roster: Mutex::default(),
            take_over: Mutex::default(),
            agent_connected: AtomicBool::new(false),
        }
    }

    /// Whether the pods of the node were taken over from the proxy before.
    pub fn ready(&self) -> bool {
        lock(&self.take_over).is_done()
    }

    /// Whether the agent is there now.
    pub fn agent_connected(&self) -> bool {
        self.agent_connected.load(Ordering::Acquire)
    }

    /// Every pod that has or may get connections, those that are leaving too.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let roster = lock(&self.roster);
        roster.all().map(|(pod, _)| pod.clone()).collect()
    }

    /// All pods, in the order of their uids, in one view of the mesh.
    pub fn served(&self) -> Vec<Served> {
        let mesh = self.shared.state.read();
        let roster = lock(&self.roster);
        let mut by_uid: BTreeMap<&str, Served> = BTreeMap::new();
        for (pod, draining) in roster.all() {
            let (mesh_state, connections) = (pod.mesh_state(&mesh), pod.connections.served());
            let uid = pod.info.uid.as_str();
            // Those that serve come first.
            if let Some(one) = by_uid.get_mut(uid) {
                one.connections += connections;
                one.mesh_state.existing_connections += mesh_state.existing_connections;
                continue;
            }
            let one = Served {
                uid: uid.to_owned(),
                name: pod.info.name.clone(),
                namespace: pod.info.namespace.clone(),
                identity: pod.identity().clone(),
                certificate_not_after: pod.certificate().map(|c| c.validity().not_after),
                connections,
                mesh_state,
                draining,
            };
            by_uid.insert(uid, one);
        }
        by_uid.into_values().collect()
    }

    /// Ends connections in plaintext of the pod of a uid with peers that are in the mesh by now:
    /// where nothing has moved for `quiet`, or all of them where that is none. Answers how many.
    pub fn end_existing_connections(&self, uid: &str, quiet: Option<Duration>) -> usize {
        let pods = self.pods();
        let of_uid = pods.iter().filter(|pod| pod.info.uid == uid);
        of_uid.map(|pod| pod.end_existing_connections(quiet)).sum()
    }

    /// Stops accepting, in favour of a successor, and lets open connections finish.
    pub async fn drain(&self) {
        let (entries, leaving) = {
            let mut roster = lock(&self.roster);
            let leaving: Vec<_> = roster
                .all()
                .filter(|(_, leaving)| *leaving)
                .map(|(pod, _)| pod.clone())
                .collect();
            (roster.keep(&HashSet::new()), leaving)
        };
        let pods = entries.len() + leaving.len();
        let serving = entries.into_iter().map(async |entry| {
            entry.accepting.stop().await;
            self.finish(&entry.pod).await
        });
        let finishing = leaving.iter().map(|pod| self.finish(pod));
        let (left, late) = tokio::join!(join_all(serving), join_all(finishing));
        let cut_off = left.iter().chain(&late).sum::<usize>();
        tracing::info!(pods, cut_off, "drained");
    }

    /// Lets a leaving pod's connections finish; answers how many had to be cut off.
    async fn finish(&self, pod: &Arc<Pod>) -> usize {
        let left = pod.connections.drain(self.shared.config.drain).await;
        lock(&self.roster).gone(pod);
        left
    }

    /// Serves a pod; nothing of it is kept when anything fails.
    async fn serve(self: &Arc<Self>, info: zds::Pod, handed: zds::Handed) -> Result<(), Fault> {
        let deadline = Instant::now() + ADD_LIMIT;
        let owner = tulle_socket_owner::read(&self.shared.config.run_dir)
            .map_err(|err| format!("what the proxy's sockets are known by: {err}"))?;
        let netns = NetNs::new(handed.netns, owner)
            .map_err(|err| format!("looking at the pod's namespace: {err}"))?;
        let domain = &self.shared.config.trust_domain;
        let identity = SpiffeId::service_account(domain, &info.namespace, &info.service_account)
            .map_err(|err| Fault::OfPod(format!("the pod's identity: {err}")))?;
        if let Some(entry) = lock(&self.roster).served(&info.uid)
            && entry.pod.netns.id() == netns.id()
            && entry.pod.netns.owner() == netns.owner()
            && entry.pod.identity() == &identity
        {
            return Ok(());
        }
        // Without the mesh's view a destination in the mesh would be taken for one outside.
        let mut synced = self.shared.synced.clone();
        let view = synced.wait_for(|synced| synced.both());
        if !matches!(tokio::time::timeout_at(deadline, view).await, Ok(Ok(_))) {
            return Err(Fault::OfProxy(
                "no answer from the control plane's xDS yet".to_owned(),
            ));
        }
        let slot = self.shared.certificates.acquire(&identity);
        slot.ready(deadline.saturating_duration_since(Instant::now()))
            .await?;
        let listeners =
            Listeners::new(handed.listeners, &netns).map_err(|err| match err.is_taken() {
                true => Fault::OfPod(err.to_string()),
                false => Fault::OfProxy(err.to_string()),
            })?;

        let pod = Arc::new(Pod::new(info, netns, slot, self.shared.clone()));
        let accepting = Arc::new(listeners.accept(&pod));
        tracing::info!(pod = %pod.name(), uid = pod.info.uid, identity = %pod.identity(), "pod served");
        let entry = Entry {
            pod: pod.clone(),
            accepting,
        };
        let before = lock(&self.roster).add(entry);
        if let Some(before) = before {
            self.let_go(before);
        }
        Ok(())
    }

    /// Closes a pod's ports and lets its open connections finish, without waiting for them.
    fn let_go(self: &Arc<Self>, entry: Entry) {
        let manager = self.clone();
        tokio::spawn(async move {
            entry.accepting.stop().await;
            let left = manager.finish(&entry.pod).await;
            tracing::info!(pod = %entry.pod.name(), uid = entry.pod.info.uid, cut_off = left, "pod let go");
        });
    }

    fn count(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.shared
            .metrics
            .pods
            .set(gauge(lock(&self.roster).count()));
        self.shared
            .metrics
            .pods_failed
            .set(gauge(lock(&self.take_over).failed()));
    }
}

impl zds::Handler for Arc<PodManager> {
    async fn add(&self, pod: zds::Pod, handed: zds::Handed) -> Result<(), zds::Refusal> {
        let uid = pod.uid.clone();
        let result = self.serve(pod, handed).await;
        let how = result
            .as_ref()
            .map_or_else(Fault::tried, |()| Tried::Served);
        lock(&self.take_over).tried(uid, how);
        self.count();
        result.map_err(zds::Refusal::from)
    }

    fn keep(&self, uid: &str) -> Result<(), zds::Refusal> {
        if lock(&self.roster).served(uid).is_none() {
            return Err(format!("the pod {uid} is not served here").into());
        }
        lock(&self.take_over).tried(uid.to_owned(), Tried::Served);
        Ok(())
    }

    fn delete(&self, uid: &str) {
        lock(&self.take_over).forget(uid);
        let entry = lock(&self.roster).remove(uid);
        if let Some(entry) = entry {
            self.let_go(entry);
        }
        self.count();
    }

    fn snapshot(&self, listed: &HashSet<String>) {
        lock(&self.take_over).snapshot(listed);
        let gone = lock(&self.roster).keep(listed);
        gone.into_iter().for_each(|entry| self.let_go(entry));
        self.count();
    }

    fn connected(&self, connected: bool) {
        if !connected {
            lock(&self.take_over).disconnected();
        }
        self.agent_connected.store(connected, Ordering::Release);
    }
}
