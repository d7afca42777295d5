//! How many lines were dropped, for metrics.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::queue::{PerRank, RANKS, Rank};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Lines that were dropped because standard output was not read in time, by kind.
#[derive(Clone, Default)]
pub struct DroppedLines(Family<Kind, Counter>);

impl DroppedLines {
    /// Adds `log_lines_dropped_total` to a registry; none dropped is told as none.
    pub fn register(&self, registry: &mut Registry) {
        for rank in RANKS {
            self.add(rank, 0);
        }
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because standard output was not read in time, by kind",
            self.0.clone(),
        );
    }

    pub(crate) fn add_all(&self, counts: &PerRank<u64>) {
        for rank in RANKS {
            self.add(rank, counts[rank]);
        }
    }

    fn add(&self, rank: Rank, count: u64) {
        let kind = match rank {
            Rank::Access => "access",
            Rank::Event => "event",
            Rank::Warning => "warning",
        };
        self.0.get_or_create(&Kind { kind }).inc_by(count);
    }
}
