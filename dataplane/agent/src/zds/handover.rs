use tulle_zds::{Pod, Refusal};

use crate::netns::Netns;
use crate::ports::Listeners;

/// A pod as the proxies get it.
#[derive(Clone, Debug)]
pub struct Handover {
    pub pod: Pod,
    pub namespace: Netns,
    /// For proxies that take them; another listens in the pod itself.
    pub listeners: Option<Listeners>,
}

/// Whether a pod is served by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// A connected proxy has acknowledged it.
    Served,
    /// None serves it, and one has not answered yet.
    Waiting,
    /// Every proxy refused it; with the newest's words, and for good where all refuse the identity.
    Refused(Refusal),
    /// No proxy is connected.
    NoProxy,
}

/// What to do next on a connection.
#[derive(Debug)]
pub(super) enum Action {
    Add {
        uid: String,
        handover: Handover,
        attempt: Attempt,
    },
    Del {
        uid: String,
    },
}

/// Which desired an acknowledgement answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Another for each namespace a pod is handed over with.
    pub generation: u64,
    pub retry: u64,
}
