//! One direction of a connection.
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, timeout_at};

use super::side::{Sink, Source};

/// How long what was read of a side that has failed may take to be passed on.
pub const DELIVERY: Duration = Duration::from_secs(5);

/// Counts bytes as they pass in one direction.
#[derive(Clone, Default)]
pub struct Meter {
    pub total: Counter,
    pub connection: Counter,
    /// Something was read that is not yet passed on.
    in_hand: Arc<AtomicBool>,
}

/// Both directions of a connection.
#[derive(Clone, Default)]
pub struct Traffic {
    /// From the client towards the server.
    pub request: Meter,
    /// From the server towards the client.
    pub response: Meter,
}

impl Meter {
    /// A meter of a connection, which counts into `total` with others.
    pub fn with_total(total: Counter) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    pub fn taken(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.total.inc_by(bytes);
        self.connection.inc_by(bytes);
        self.in_hand.store(true, Ordering::Release);
    }

    pub fn passed_on(&self) {
        self.in_hand.store(false, Ordering::Release);
    }
}

impl Traffic {
    /// Bytes, both ways together.
    pub fn bytes(&self) -> u64 {
        self.request.connection.get() + self.response.connection.get()
    }

    /// Whether something was read that is not yet passed on.
    pub fn in_hand(&self) -> bool {
        let meters = [&self.request, &self.response];
        let mut in_hand = meters.map(|meter| &meter.in_hand).into_iter();
        in_hand.any(|in_hand| in_hand.load(Ordering::Acquire))
    }
}

/// Which end of a direction has failed.
#[derive(Debug)]
pub enum Failure {
    Source(io::Error),
    Sink(io::Error),
}

/// Moves bytes from `source` to `sink` until the end, and passes the end on. Where the source fails,
/// everything that was read of it has been passed on, as far as the sink took it in time.
///
/// # Errors
/// Which end has failed.
pub async fn pump(
    source: &mut impl Source,
    sink: &mut impl Sink,
    meter: &Meter,
) -> Result<(), Failure> {
    let mut until = None;
    while let Some(piece) = source.next().await.map_err(Failure::Source)? {
        meter.taken(piece.len());
        let mut sending = pin!(sink.send(piece));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            broken = source.meanwhile() => {
                let until = *until.get_or_insert_with(|| Instant::now() + DELIVERY);
                let in_time = timeout_at(until, sending).await;
                in_time.map_err(|_| Failure::Source(broken))?
            }
        };
        sent.map_err(Failure::Sink)?;
        meter.passed_on();
    }
    sink.finish().await.map_err(Failure::Sink)
}
