use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::sync::Mutex;

use super::{RuleError, RuleInstaller};

/// The addresses of the node's enrolled pods, kept in the node's own table.
///
/// After a start of the agent the table of its former life stands until
/// [`Self::open`]: until then additions are only collected, or pods found
/// later than others would lose their rule for a moment.
pub struct NodeAddresses {
    rule_installer: RuleInstaller,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By pod: an address may pass to another pod before the first is forgotten.
    pods: BTreeMap<String, Vec<IpAddr>>,
    /// What the table is known to hold; `None`: unknown, or no table.
    written: Option<BTreeSet<IpAddr>>,
    open: bool,
}

impl NodeAddresses {
    pub fn new(rule_installer: RuleInstaller) -> Self {
        Self {
            rule_installer,
            state: Mutex::default(),
        }
    }

    /// Every pod enrolled before the start is known now: the table follows from here on.
    pub async fn open(&self) -> Result<(), RuleError> {
        let mut state = self.state.lock().await;
        state.open = true;
        self.write(&mut state).await
    }

    pub async fn add(&self, uid: &str, ips: &[IpAddr]) -> Result<(), RuleError> {
        let mut state = self.state.lock().await;
        state.pods.insert(uid.to_owned(), ips.to_vec());
        self.write(&mut state).await
    }

    pub async fn remove(&self, uid: &str) -> Result<(), RuleError> {
        let mut state = self.state.lock().await;
        state.pods.remove(uid);
        self.write(&mut state).await
    }

    /// Takes the table away, whatever it holds. The next addition makes it again.
    pub async fn clear(&self) -> Result<(), RuleError> {
        let mut state = self.state.lock().await;
        state.pods.clear();
        state.written = None;
        self.rule_installer.remove_node_table().await
    }

    async fn write(&self, state: &mut State) -> Result<(), RuleError> {
        let wanted: BTreeSet<IpAddr> = state.pods.values().flatten().copied().collect();
        if !state.open || state.written.as_ref() == Some(&wanted) {
            return Ok(());
        }
        self.rule_installer.write_node_table(&wanted).await?;
        state.written = Some(wanted);
        Ok(())
    }
}
