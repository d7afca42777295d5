//! Who has which tunnels. A peer has a slot while there is a tunnel to it, or one is being dialled:
//!
//! ```text
//!            newcomer                opened
//!  no slot ───────────▶ dialling ─────────────▶ open ◀──────────────────────┐ opened, failed
//!     ▲                    │ failed: all who      │ ├─ crowded, stalled, full ▶ open, dialling
//!     │                    │ wait hear the error  │ └─ a dial failed ─▶ open, resting ─┐
//!     └────────────────────┴──────────────────────┘◀────────────────── a second later ─┘
//!                             the last tunnel ends
//! ```
//!
//! A dial belongs to the slot and not to who asked for it: those who wait share its outcome, and it
//! goes on to its own end when they have given up. Who waits holds nothing that could leak.
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::choice::{Choice, choose};
use super::shared::{Carrier, Lease, Shared};
use crate::lock::lock;

/// After a dial has failed beside tunnels that are open, how long until the next.
const REST: Duration = Duration::from_secs(1);
/// How long a newcomer waits for another tunnel where those there are do not get on.
const STALLED_PATIENCE: Duration = Duration::from_secs(1);

/// The slots of one pod.
pub struct Slots<P, T, E> {
    slots: Mutex<HashMap<P, Slot<T, E>>>,
    /// Tunnels to a peer before any is full.
    spread: usize,
}

struct Slot<T, E> {
    open: Vec<Arc<Shared<T>>>,
    dial: Dial<E>,
    /// Told of each stream that ends, for those who wait for room.
    freed: Arc<Notify>,
}

enum Dial<E> {
    None,
    Running(Running<E>),
    /// The last one failed beside tunnels that are open; the next is not before this.
    Resting(Instant),
}

struct Running<E> {
    outcome: watch::Receiver<Outcome<E>>,
    /// The dial ends with the pod.
    _task: AbortOnDropHandle<()>,
}

/// None until the dial has ended.
type Outcome<E> = Option<Result<(), Arc<E>>>;

/// What moves a tunnel's bytes, until the tunnel ends.
pub type Driver<P, T, E> = Box<dyn FnOnce(Member<P, T, E>) -> BoxFuture<'static, ()> + Send>;

/// A tunnel's place in its slot, until dropped.
pub struct Member<P: Clone + Eq + Hash, T, E> {
    slots: Weak<Slots<P, T, E>>,
    peer: P,
    shared: Weak<Shared<T>>,
}

/// What a newcomer finds.
enum Found<T, E> {
    Room(Lease<T>),
    Wait(Wait<E>),
}

struct Wait<E> {
    outcome: watch::Receiver<Outcome<E>>,
    freed: Pin<Box<OwnedNotified>>,
    /// There is room in a tunnel that does not get on.
    stalled_room: bool,
}

impl<P, T, E> Slots<P, T, E>
where
    P: Clone + Eq + Hash + Send + Sync + 'static,
    T: Carrier,
    E: Send + Sync + 'static,
{
    pub fn new(spread: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            spread,
        })
    }

    /// A place in a `usable` tunnel to `peer`, and whether it was dialled while we waited. `dial`
    /// makes a tunnel, and what drives it once it has its place in the slot.
    ///
    /// # Errors
    /// When there is no tunnel with room, and the dial we waited for has failed.
    pub async fn lease<F>(
        self: &Arc<Self>,
        peer: &P,
        usable: impl Fn(&T) -> bool,
        dial: impl Fn() -> F,
    ) -> Result<(Lease<T>, bool), Arc<E>>
    where
        F: Future<Output = Result<(T, Driver<P, T, E>), E>> + Send + 'static,
    {
        let patience = Instant::now() + STALLED_PATIENCE;
        let mut waited = false;
        loop {
            let wait = match self.find(peer, &usable, &dial, patience) {
                Found::Room(lease) => return Ok((lease, waited)),
                Found::Wait(wait) => wait,
            };
            let Wait {
                mut outcome,
                freed,
                stalled_room,
            } = wait;
            let ended = async {
                // An error only where the dial's task is gone, and then there is another.
                let ended = outcome.wait_for(Option::is_some).await.ok();
                ended.and_then(|ended| ended.clone())
            };
            tokio::select! {
                ended = ended => match ended {
                    // A crowded tunnel is better than none.
                    Some(Err(err)) => return self.room(peer, &usable).map(|lease| (lease, false)).ok_or(err),
                    _ => waited = true,
                },
                () = freed => {}
                () = tokio::time::sleep_until(patience), if stalled_room => {}
            }
        }
    }

    fn find<F>(
        self: &Arc<Self>,
        peer: &P,
        usable: &impl Fn(&T) -> bool,
        dial: &impl Fn() -> F,
        patience: Instant,
    ) -> Found<T, E>
    where
        F: Future<Output = Result<(T, Driver<P, T, E>), E>> + Send + 'static,
    {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(peer.clone()).or_default();
        slot.open.retain(|open| usable(&open.tunnel));
        let loads: Vec<_> = slot.open.iter().map(|open| open.load()).collect();
        let start = || self.start(peer.clone(), dial());
        let (outcome, stalled_room) = match choose(&loads, self.spread) {
            Choice::Take(at) => return Found::Room(slot.open[at].lease()),
            Choice::TakeAndDial(at) => {
                if !slot.dial.is_resting() {
                    slot.dial.join(start);
                }
                return Found::Room(slot.open[at].lease());
            }
            Choice::RatherDial(at) if slot.dial.is_resting() || Instant::now() >= patience => {
                return Found::Room(slot.open[at].lease());
            }
            Choice::RatherDial(_) => (slot.dial.join(start), true),
            Choice::Dial => (slot.dial.join(start), false),
        };
        // Enabled under the lock: no stream can end unseen between the look and the wait.
        let mut freed = Box::pin(slot.freed.clone().notified_owned());
        let _told_already = freed.as_mut().enable();
        Found::Wait(Wait {
            outcome,
            freed,
            stalled_room,
        })
    }

    /// The emptiest tunnel that has room, however it gets on.
    fn room(&self, peer: &P, usable: &impl Fn(&T) -> bool) -> Option<Lease<T>> {
        let slots = lock(&self.slots);
        let open = slots.get(peer)?.open.iter();
        open.filter(|open| usable(&open.tunnel))
            .map(|open| (open.load(), open))
            .filter(|(load, _)| load.has_room)
            .min_by_key(|(load, _)| (load.stalled, load.in_use))
            .map(|(_, open)| open.lease())
    }

    /// Dials in a task of its own.
    fn start<F>(self: &Arc<Self>, peer: P, dial: F) -> Running<E>
    where
        F: Future<Output = Result<(T, Driver<P, T, E>), E>> + Send + 'static,
    {
        let (tell, outcome) = watch::channel(None);
        let slots = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let dialled = dial.await;
            if let Some(slots) = slots.upgrade() {
                let outcome = slots.dialled(peer, dialled);
                // Nobody may be waiting any more.
                tell.send_replace(Some(outcome));
            }
        });
        Running {
            outcome,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Enters the outcome of a dial in its slot.
    fn dialled(
        self: &Arc<Self>,
        peer: P,
        dialled: Result<(T, Driver<P, T, E>), E>,
    ) -> Result<(), Arc<E>> {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(peer.clone()).or_default();
        match dialled {
            Ok((tunnel, drive)) => {
                let shared = Arc::new(Shared::new(tunnel, slot.freed.clone()));
                tokio::spawn(drive(Member {
                    slots: Arc::downgrade(self),
                    peer,
                    shared: Arc::downgrade(&shared),
                }));
                slot.open.push(shared);
                slot.dial = Dial::None;
                Ok(())
            }
            Err(err) => {
                slot.dial = Dial::Resting(Instant::now() + REST);
                if slot.open.is_empty() {
                    slots.remove(&peer);
                }
                Err(Arc::new(err))
            }
        }
    }
}

impl<P: Clone + Eq + Hash, T, E> Slots<P, T, E> {
    /// Takes a tunnel out of its slot, and the slot with the last of them.
    pub fn remove(&self, peer: &P, shared: &Weak<Shared<T>>) {
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.get_mut(peer) else {
            return;
        };
        slot.open
            .retain(|open| !std::ptr::eq(Arc::as_ptr(open), shared.as_ptr()));
        if slot.open.is_empty() && !slot.dial.is_running() {
            slots.remove(peer);
        }
    }
}

impl<P: Clone + Eq + Hash, T, E> Member<P, T, E> {
    /// The tunnel, while anybody can use it.
    pub fn shared(&self) -> Option<Arc<Shared<T>>> {
        self.shared.upgrade()
    }

    /// Gives up the tunnel's place: it takes nobody more, and ends with the last of those it has.
    pub fn leave(&self) {
        if let Some(slots) = self.slots.upgrade() {
            slots.remove(&self.peer, &self.shared);
        }
    }
}

impl<P: Clone + Eq + Hash, T, E> Drop for Member<P, T, E> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T, E> Default for Slot<T, E> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            dial: Dial::None,
            freed: Arc::default(),
        }
    }
}

impl<E> Dial<E> {
    /// Shares the dial that is running, or one that is started now.
    fn join(&mut self, start: impl FnOnce() -> Running<E>) -> watch::Receiver<Outcome<E>> {
        if let Self::Running(running) = self
            && !running.broken()
        {
            return running.outcome.clone();
        }
        let running = start();
        let outcome = running.outcome.clone();
        *self = Self::Running(running);
        outcome
    }

    fn is_running(&self) -> bool {
        matches!(self, Self::Running(running) if !running.broken())
    }

    fn is_resting(&self) -> bool {
        matches!(self, Self::Resting(until) if Instant::now() < *until)
    }
}

impl<E> Running<E> {
    /// Its task has gone without a word.
    fn broken(&self) -> bool {
        self.outcome.has_changed().is_err()
    }
}

#[cfg(test)]
#[path = "slots_test.rs"]
mod tests;
