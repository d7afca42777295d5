//! Series of the layer 4 metrics: one for each label set, with all its counters.
//!
//! ```text
//!  first connection ──▶ OPEN ◀── another ── IDLE ── one of its ends is gone, five minutes after its last connection ──▶ dropped
//!                        └── last one closed ──▶┘
//! ```
//!
//! Until then a scraper sees the last that was counted. What is idle while its ends are there stays: a counter that begins anew
//! would lose what it counts first.
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::facts::Facts;
use super::labels::{EndLabels, Labels, ServiceLabels};
use crate::lock::lock;
use crate::state::{Service, Snapshot, Workload};

/// How long a series of something that is gone is kept after its last connection: several scrapes.
pub const KEPT: Duration = Duration::from_secs(300);
/// Most label sets, some 1.6 kB each. Connections that would need another are counted under unknown names.
const MOST: usize = 20_000;

/// All series.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<RwLock<HashMap<Owned, Arc<Series>>>>);

/// What is counted under one label set.
#[derive(Debug)]
struct Series {
    opened: Counter,
    closed: Counter,
    sent: Counter,
    received: Counter,
    /// Connections that are open now.
    open: AtomicUsize,
    last: Mutex<Last>,
}

/// The last connection.
#[derive(Clone, Debug)]
struct Last {
    /// When it was opened or closed.
    at: Instant,
    source: End,
    destination: End,
    service: Option<Arc<Service>>,
}

/// One end of it.
#[derive(Clone, Debug)]
enum End {
    Unknown,
    Workload(Arc<Workload>),
    /// An identity was proved, and nobody is known to have it.
    Stranger,
}

/// An open connection, counted in its series until it is dropped.
pub struct Counted {
    series: Arc<Series>,
}

impl Traffic {
    /// Counts a connection as open.
    pub fn open(&self, facts: &Facts) -> Counted {
        let labels = labels(facts);
        let last = Last::new(facts);
        if let Some(series) = self.read().get(&labels as &dyn Labelled) {
            return series.open(last);
        }
        let mut all = self.write();
        let labels = if all.len() < MOST {
            labels
        } else {
            Labels::of_anybody(facts.reporter)
        };
        if let Some(series) = all.get(&labels as &dyn Labelled) {
            return series.open(last);
        }
        let series = Arc::new(Series::new(last.clone()));
        all.insert(Owned(Labels::new(&labels)), series.clone());
        series.open(last)
    }

    /// Drops the series of what is not in the mesh any more.
    pub fn forget_gone(&self, mesh: &Snapshot) {
        let now = Instant::now();
        self.write().retain(|_, series| {
            // Connections are opened with the lock held: none is being opened.
            let is_open = series.open.load(Ordering::Acquire) > 0;
            is_open || !lock(&series.last).is_over(now, mesh)
        });
    }

    fn encode_one(
        &self,
        encoder: &mut DescriptorEncoder,
        (name, help): (&str, &str),
        counter: fn(&Series) -> &Counter,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (Owned(labels), series) in &*self.read() {
            let value = counter(series).get();
            family
                .encode_family(&labels.borrowed())?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    // Nothing panics while it holds the lock; were it so, the map is still whole.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Owned, Arc<Series>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Owned, Arc<Series>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let opened = ("istio_tcp_connections_opened", "TCP connections opened");
        self.encode_one(&mut encoder, opened, |series| &series.opened)?;
        let closed = ("istio_tcp_connections_closed", "TCP connections closed");
        self.encode_one(&mut encoder, closed, |series| &series.closed)?;
        let sent = ("istio_tcp_sent_bytes", "Bytes sent in answer");
        self.encode_one(&mut encoder, sent, |series| &series.sent)?;
        let received = ("istio_tcp_received_bytes", "Bytes received in request");
        self.encode_one(&mut encoder, received, |series| &series.received)
    }
}

impl Series {
    fn new(last: Last) -> Self {
        Self {
            opened: Counter::default(),
            closed: Counter::default(),
            sent: Counter::default(),
            received: Counter::default(),
            open: AtomicUsize::new(0),
            last: Mutex::new(last),
        }
    }

    fn open(self: &Arc<Self>, last: Last) -> Counted {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.opened.inc();
        *lock(&self.last) = last;
        Counted {
            series: self.clone(),
        }
    }
}

impl Counted {
    /// Bytes from the server towards the client.
    pub fn sent(&self) -> Counter {
        self.series.sent.clone()
    }

    /// Bytes from the client towards the server.
    pub fn received(&self) -> Counter {
        self.series.received.clone()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.series.closed.inc();
        lock(&self.series.last).at = Instant::now();
        self.series.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Last {
    fn new(facts: &Facts) -> Self {
        let end = |workload: &Option<Arc<Workload>>, is_proved: bool| match workload {
            Some(workload) => End::Workload(workload.clone()),
            None if is_proved => End::Stranger,
            None => End::Unknown,
        };
        Self {
            at: Instant::now(),
            source: end(&facts.source_workload, facts.source_identity.is_some()),
            destination: end(
                &facts.destination_workload,
                facts.destination_identity.is_some(),
            ),
            service: facts.service.clone(),
        }
    }

    fn is_over(&self, now: Instant, mesh: &Snapshot) -> bool {
        let service = self.service.as_ref();
        now.saturating_duration_since(self.at) >= KEPT
            && (self.source.is_gone(mesh)
                || self.destination.is_gone(mesh)
                || service.is_some_and(|service| is_service_gone(service, mesh)))
    }
}

impl End {
    /// Whether nobody has these labels any more, as far as the last who had them tells.
    fn is_gone(&self, mesh: &Snapshot) -> bool {
        match self {
            Self::Unknown => false,
            Self::Stranger => true,
            Self::Workload(before) => mesh.workload(&before.uid).is_none_or(|now| {
                EndLabels::new(Some(now), None) != EndLabels::new(Some(before), None)
            }),
        }
    }
}

fn is_service_gone(before: &Service, mesh: &Snapshot) -> bool {
    let now = mesh.service(&before.id).map(AsRef::as_ref);
    ServiceLabels::from(now) != ServiceLabels::from(Some(before))
}

fn labels(facts: &Facts) -> Labels<&str> {
    Labels {
        reporter: facts.reporter,
        source: EndLabels::new(
            facts.source_workload.as_deref(),
            facts.source_identity.as_ref(),
        ),
        destination: EndLabels::new(
            facts.destination_workload.as_deref(),
            facts.destination_identity.as_ref(),
        ),
        service: ServiceLabels::from(facts.service.as_deref()),
    }
}

/// Labels that are owned or borrowed: so a series is found without copying any text.
trait Labelled {
    fn labels(&self) -> Labels<&str>;
}

#[derive(Debug)]
struct Owned(Labels<Box<str>>);

impl Labelled for Owned {
    fn labels(&self) -> Labels<&str> {
        self.0.borrowed()
    }
}

impl Labelled for Labels<&str> {
    fn labels(&self) -> Labels<&str> {
        *self
    }
}

impl<'a> Borrow<dyn Labelled + 'a> for Owned {
    fn borrow(&self) -> &(dyn Labelled + 'a) {
        self
    }
}

impl Hash for dyn Labelled + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.labels().hash(state);
    }
}

impl PartialEq for dyn Labelled + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.labels() == other.labels()
    }
}

impl Eq for dyn Labelled + '_ {}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.labels().hash(state);
    }
}

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Owned {}

#[cfg(test)]
#[path = "traffic_test.rs"]
mod tests;
