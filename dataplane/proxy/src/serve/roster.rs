//! Which pods there are: those served, and those let go that still have connections.
//!
//! ```text
//!  add ──▶ served ── deleted, replaced, or the proxy drains ──▶ leaving ── last connection closed ──▶ gone
//! ```
//!
//! A pod is always in one of both until the last of its connections is closed, so that policy and
//! counting reach each of them.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::listeners::Accepting;
use crate::pod::Pod;

/// A pod whose ports are open.
pub struct Entry {
    pub pod: Arc<Pod>,
    pub accepting: Arc<Accepting>,
}

#[derive(Default)]
pub struct Roster {
    served: HashMap<String, Entry>,
    leaving: Vec<Arc<Pod>>,
}

impl Roster {
    pub fn served(&self, uid: &str) -> Option<&Entry> {
        self.served.get(uid)
    }

    /// How many are served.
    pub fn count(&self) -> usize {
        self.served.len()
    }

    /// Every pod, and whether it is leaving; of one uid there may be several.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<Pod>, bool)> {
        let served = self.served.values().map(|entry| (&entry.pod, false));
        served.chain(self.leaving.iter().map(|pod| (pod, true)))
    }

    /// Adds a pod; answers the one of the same uid that has to leave for it.
    pub fn add(&mut self, entry: Entry) -> Option<Entry> {
        let before = self.served.insert(entry.pod.info.uid.clone(), entry);
        before.map(|entry| self.leave(entry))
    }

    pub fn remove(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.served.remove(uid);
        entry.map(|entry| self.leave(entry))
    }

    /// Keeps the pods that are listed; answers those that have to leave.
    pub fn keep(&mut self, listed: &HashSet<String>) -> Vec<Entry> {
        let gone = self.served.extract_if(|uid, _| !listed.contains(uid));
        let gone: Vec<_> = gone.map(|(_, entry)| entry).collect();
        gone.into_iter().map(|entry| self.leave(entry)).collect()
    }

    /// Lets go of a pod that has no connection any more.
    pub fn gone(&mut self, pod: &Arc<Pod>) {
        self.leaving.retain(|leaving| !Arc::ptr_eq(leaving, pod));
    }

    fn leave(&mut self, entry: Entry) -> Entry {
        self.leaving.push(entry.pod.clone());
        entry
    }
}
