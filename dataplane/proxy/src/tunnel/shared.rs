//! A tunnel and who uses it.
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::choice::Load;

/// What leads to a peer.
pub trait Carrier: Send + Sync + 'static {
    /// Streams it takes at once.
    fn limit(&self) -> usize;
}

/// A tunnel and those who use it.
pub struct Shared<T> {
    pub tunnel: T,
    streams: AtomicUsize,
    uses: AtomicU64,
    /// Streams that have long waited for the peer to take more.
    pub waiting: Arc<AtomicUsize>,
    /// The last request was given up without an answer.
    unanswered: AtomicBool,
    freed: Arc<Notify>,
}

/// A stream's place in a tunnel, until dropped.
pub struct Lease<T>(Arc<Shared<T>>);

impl<T: Carrier> Shared<T> {
    /// A tunnel that nobody uses yet, which tells `freed` of each stream that ends.
    pub fn new(tunnel: T, freed: Arc<Notify>) -> Self {
        Self {
            tunnel,
            streams: AtomicUsize::default(),
            uses: AtomicU64::default(),
            waiting: Arc::default(),
            unanswered: AtomicBool::default(),
            freed,
        }
    }

    /// Whether there are streams, and how many there have been.
    pub fn usage(&self) -> (bool, u64) {
        let uses = self.uses.load(Ordering::Relaxed);
        (self.streams.load(Ordering::Acquire) > 0, uses)
    }

    /// Notes whether the peer answers requests.
    pub fn answers(&self, answers: bool) {
        self.unanswered.store(!answers, Ordering::Relaxed);
    }

    pub fn load(&self) -> Load {
        let in_use = self.streams.load(Ordering::Acquire);
        Load {
            in_use,
            has_room: in_use < self.tunnel.limit(),
            stalled: self.waiting.load(Ordering::Relaxed) > 0
                || self.unanswered.load(Ordering::Relaxed),
        }
    }

    /// One more stream.
    pub fn lease(self: &Arc<Self>) -> Lease<T> {
        self.streams.fetch_add(1, Ordering::AcqRel);
        self.uses.fetch_add(1, Ordering::Relaxed);
        Lease(self.clone())
    }
}

impl<T> Deref for Lease<T> {
    type Target = Arc<Shared<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}
