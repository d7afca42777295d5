use tulle_wire::zds::{Ack, WorkloadInfo};

use crate::netns::Netns;
use crate::ports::Listeners;

/// A pod as the proxies get it.
#[derive(Clone, Debug)]
pub struct Handover {
    pub info: WorkloadInfo,
    pub namespace: Netns,
    /// For proxies that take them; another listens in the pod itself.
    pub listeners: Option<Listeners>,
}

/// Why a proxy did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    /// The authority has refused the pod's identity: waiting changes nothing.
    pub definite: bool,
}

/// Whether a pod is served by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// A connected proxy has acknowledged it.
    Served,
    /// None serves it, and one has not answered yet.
    Waiting,
    /// Every proxy refused it; with the newest's words, and definite where all are.
    Refused(Refusal),
    /// No proxy is connected.
    NoProxy,
}

/// What a proxy says of itself when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub takes_listeners: bool,
    pub answers_in_any_order: bool,
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

/// Which wish an acknowledgement answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Another for each namespace a pod is handed over with.
    pub generation: u64,
    pub retry: u64,
}

/// What an acknowledgement says.
pub(super) fn outcome(ack: Ack) -> Result<(), Refusal> {
    if ack.error.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        message: ack.error,
        definite: ack.definite,
    })
}
