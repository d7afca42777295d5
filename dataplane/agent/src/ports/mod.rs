//! The proxy's ports in every enrolled pod, held by the agent (docs/adr/0007).
//!
//! The agent opens the listeners of a pod before it hands the pod over, keeps them as long as the
//! pod is enrolled, and sends duplicates to the proxies: all of them accept from one queue. An
//! agent that starts gets them back from whoever of the mesh still has them.
mod holders;
mod listeners;

use std::io;

use tokio::sync::watch;

use crate::cluster::View;
use crate::netns::{Finder, Netns};
use crate::sockets::{self, Listening};
use holders::Holders;

pub use listeners::Listeners;

/// Why a pod's ports are not the mesh's.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("something in the pod listens on port {0}")]
    InUse(u16),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The proxy's ports in this node's pods.
pub struct Ports {
    holders: Holders,
}

impl Ports {
    pub fn new(finder: Finder, view: watch::Receiver<View>) -> Self {
        Self {
            holders: Holders::new(finder, view),
        }
    }

    /// Takes the ports of a pod: the listeners there that the mesh's own processes hold, and new
    /// ones where nobody listens.
    pub async fn take(&self, namespace: &Netns) -> Result<Listeners, PortError> {
        let present = listening(namespace).await?;
        let mut found = Vec::new();
        for Listening { port, inode } in present {
            if found.iter().any(|(taken, _)| *taken == port) {
                continue;
            }
            match self.holders.duplicate(inode).await? {
                Some(listener) => found.push((port, listener)),
                None => return Err(PortError::InUse(port)),
            }
        }
        Listeners::complete(namespace, found).await
    }

    /// A port of the proxy's on which something else listens: another socket than `own`, or
    /// without those, one that no process of the mesh holds.
    pub async fn foreign(
        &self,
        namespace: &Netns,
        own: Option<&Listeners>,
    ) -> Result<Option<u16>, PortError> {
        for Listening { port, inode } in listening(namespace).await? {
            let is_ours = match own {
                Some(own) => own.has(inode),
                None => self.holders.duplicate(inode).await?.is_some(),
            };
            if !is_ours {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }
}

async fn listening(namespace: &Netns) -> io::Result<Vec<Listening>> {
    namespace
        .run(|| Ok(sockets::listening(&sockets::dump()?)))
        .await
}
