//! Logs on standard output that hold up nobody. Lines wait in a bounded queue; a thread writes them. Where standard output is
//! not read, lines are dropped and counted: those of the access log first, then events, warnings and errors last.
//!
//! tracing-appender has such a thread and queue; its queue is bounded in lines and not in bytes, knows no ranks, and does not
//! tell when the output flows again.
mod dropped;
mod queue;
mod thread;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use dropped::DroppedLines;
use queue::Rank;
use thread::{Writing, write_in_a_thread};

/// Target of access-log lines, so that they can be told from events.
pub const ACCESS: &str = "access";

/// What may wait, bytes.
const ROOM: usize = 1024 * 1024;
/// How long the process waits at its end for what is left to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Logs until dropped; then what is left is written, for as long as two seconds.
pub struct Logging {
    writing: Arc<Writing>,
}

/// Starts logging in JSON on standard output.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(filter: EnvFilter) -> io::Result<Logging> {
    let writing = write_in_a_thread(io::stdout(), ROOM)?;
    let _already_started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(Lines(writing.clone()))
        .try_init();
    Ok(Logging { writing })
}

impl Logging {
    /// How many lines have been dropped.
    pub fn dropped(&self) -> DroppedLines {
        self.writing.dropped.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.writing.finish(FLUSH_LIMIT);
    }
}

struct Lines(Arc<Writing>);

/// Takes one line.
struct Line<'a> {
    writing: &'a Writing,
    rank: Rank,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        let (writing, rank) = (&*self.0, Rank::Event);
        Line { writing, rank }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line<'a> {
        let rank = match *of.level() {
            Level::ERROR | Level::WARN => Rank::Warning,
            _ if of.target() == ACCESS => Rank::Access,
            _ => Rank::Event,
        };
        let writing = &self.0;
        Line { writing, rank }
    }
}

impl Write for Line<'_> {
    /// The subscriber writes a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.writing.push(self.rank, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
