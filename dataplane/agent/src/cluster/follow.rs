use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Error, Event};
use tracing::warn;

use crate::jitter::jittered;

/// What a watch says, with a list as one change: it replaces what was known
/// only when it is whole.
#[derive(Debug)]
pub enum Change<K> {
    All(Vec<K>),
    One(K),
    Gone(K),
}

/// How long to wait after each failure in a row: half a second, doubling to
/// eight, jittered, so that nodes do not come back in step.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(500 << self.failures.min(4));
        self.failures = self.failures.saturating_add(1);
        Some(jittered(wait))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Gives each change to `apply`, for ever. Errors are waited out with
/// backoff; what is known stays as it is meanwhile.
pub async fn follow<K: Debug + Send>(
    what: &'static str,
    events: impl Stream<Item = Result<Event<K>, Error>> + Send,
    mut apply: impl FnMut(Change<K>),
) {
    let mut events = pin!(events.backoff(Patience::default()));
    let mut list = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => list.clear(),
            Ok(Event::InitApply(object)) => list.push(object),
            Ok(Event::InitDone) => apply(Change::All(std::mem::take(&mut list))),
            Ok(Event::Apply(object)) => apply(Change::One(object)),
            Ok(Event::Delete(object)) => apply(Change::Gone(object)),
            Err(error) => warn!(what, err = %error, "watch interrupted"),
        }
    }
}
