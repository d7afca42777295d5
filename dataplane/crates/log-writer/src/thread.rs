//! The thread that writes, and what it shares with those that log.
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::dropped::DroppedLines;
use crate::queue::{PerRank, Queue, RANKS, Rank};

/// How much is written at once, bytes.
const BATCH: usize = 64 * 1024;

pub struct Writing {
    state: Mutex<State>,
    changed: Condvar,
    pub dropped: DroppedLines,
}

struct State {
    queue: Queue,
    /// Lines are being written now.
    busy: bool,
    /// Nothing more comes.
    finished: bool,
    /// Dropped since that was last told.
    untold: PerRank<u64>,
}

/// Starts a thread that writes to `out` whatever is pushed, with `room` bytes for what waits.
///
/// # Errors
/// When it cannot be started.
pub fn write_in_a_thread(
    out: impl Write + Send + 'static,
    room: usize,
) -> io::Result<Arc<Writing>> {
    let writing = Arc::new(Writing {
        state: Mutex::new(State {
            queue: Queue::new(room),
            busy: false,
            finished: false,
            untold: PerRank::default(),
        }),
        changed: Condvar::new(),
        dropped: DroppedLines::default(),
    });
    let shared = writing.clone();
    std::thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || shared.write_all(out))?;
    Ok(writing)
}

impl Writing {
    /// Adds a line, without ever waiting for what is written.
    pub fn push(&self, rank: Rank, line: &[u8]) {
        let mut state = self.lock();
        let dropped = state.queue.push(rank, line);
        self.count(&mut state, &dropped);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything is written, or for `limit`, and lets the thread end.
    pub fn finish(&self, limit: Duration) {
        let mut state = self.lock();
        state.finished = true;
        self.changed.notify_all();
        let is_left = |state: &mut State| state.busy || !state.queue.is_empty();
        // What is not written by then nobody reads.
        drop(self.changed.wait_timeout_while(state, limit, is_left));
    }

    fn write_all(&self, mut out: impl Write) {
        while let Some(batch) = self.next() {
            let text: Vec<u8> = batch.iter().flat_map(|(_, line)| line).copied().collect();
            let written = out.write_all(&text).and_then(|()| out.flush());
            let mut state = self.lock();
            if written.is_err() {
                let mut lost = PerRank::default();
                for (rank, _) in batch {
                    lost[rank] += 1;
                }
                self.count(&mut state, &lost);
            }
            let untold = written.is_ok().then(|| std::mem::take(&mut state.untold));
            drop(state);
            if let Some(untold) = untold.filter(|untold| *untold != PerRank::default()) {
                tell(&untold);
            }
            // Only now: what was told is in the queue.
            self.lock().busy = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines to write; none when nothing more comes.
    fn next(&self) -> Option<Vec<(Rank, Box<[u8]>)>> {
        let is_idle = |state: &mut State| state.queue.is_empty() && !state.finished;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let batch = state.queue.batch(BATCH);
        state.busy = !batch.is_empty();
        state.busy.then_some(batch)
    }

    fn count(&self, state: &mut State, dropped: &PerRank<u64>) {
        if *dropped == PerRank::default() {
            return;
        }
        for rank in RANKS {
            state.untold[rank] += dropped[rank];
        }
        self.dropped.add_all(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output flows again: says what is missing in it.
fn tell(untold: &PerRank<u64>) {
    tracing::warn!(
        access = untold[Rank::Access],
        events = untold[Rank::Event],
        warnings = untold[Rank::Warning],
        "log lines were dropped: standard output was not read in time"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// An output that takes a write only when it is read.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(text.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe(room: usize) -> (Arc<Writing>, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (write_in_a_thread(Pipe(sender), room).unwrap(), receiver)
    }

    #[test]
    fn r38_whoever_logs_waits_for_nobody_who_reads() {
        let (writing, unread) = pipe(10_000);
        for _ in 0..1000 {
            writing.push(Rank::Access, b"a line of the access log\n");
        }
        writing.push(Rank::Warning, b"a warning\n");
        writing.finish(Duration::ZERO);
        let untold = writing.lock().untold.clone();
        // There is room for about 110: so many are being written, and as many wait.
        assert!(untold[Rank::Access] > 700, "{untold:?}");
        assert_eq!(untold[Rank::Warning], 0);
        let read: Vec<u8> = unread.iter().flatten().collect();
        assert!(read.ends_with(b"a warning\n"));
    }

    #[test]
    fn what_is_left_is_written_at_the_end() {
        let (writing, unread) = pipe(10_000);
        let reading = std::thread::spawn(move || unread.iter().flatten().collect::<Vec<u8>>());
        writing.push(Rank::Event, b"one\n");
        writing.push(Rank::Event, b"two\n");
        writing.finish(Duration::from_secs(20));
        assert_eq!(reading.join().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn what_a_broken_output_loses_is_counted() {
        let (writing, unread) = pipe(10_000);
        drop(unread);
        writing.push(Rank::Event, b"one\n");
        writing.finish(Duration::from_secs(20));
        assert_eq!(writing.lock().untold[Rank::Event], 1);
    }
}
