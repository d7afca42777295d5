//! Lines that wait to be written, in order, within a number of bytes. Pure.
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// What a line is worth; the least is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Access,
    Event,
    Warning,
}

pub const RANKS: [Rank; 3] = [Rank::Access, Rank::Event, Rank::Warning];

/// Something of each rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerRank<T>([T; RANKS.len()]);

/// What a line costs beside its text, bytes.
const OVERHEAD: usize = 64;

#[derive(Default)]
pub struct Queue {
    room: usize,
    bytes: usize,
    /// Of all lines that ever came; each waits with its number.
    next: u64,
    waiting: PerRank<VecDeque<(u64, Box<[u8]>)>>,
}

impl Queue {
    pub fn new(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Adds a line; where there is no room the oldest of lower ranks are dropped for it, else the
    /// line itself. Answers how many were dropped, by rank.
    pub fn push(&mut self, rank: Rank, line: &[u8]) -> PerRank<u64> {
        let mut dropped = PerRank::default();
        let needed = line.len() + OVERHEAD;
        if needed > self.room {
            dropped[rank] += 1;
            return dropped;
        }
        while self.bytes + needed > self.room {
            let lower = RANKS.into_iter().filter(|lower| *lower < rank);
            let evicted = lower
                .filter_map(|lower| Some((lower, self.take(lower)?)))
                .next();
            match evicted {
                Some((lower, _)) => dropped[lower] += 1,
                None => {
                    dropped[rank] += 1;
                    return dropped;
                }
            }
        }
        self.waiting[rank].push_back((self.next, line.into()));
        self.next += 1;
        self.bytes += needed;
        dropped
    }

    /// The next lines to write, in order, of about `bytes` together, and their ranks.
    pub fn batch(&mut self, bytes: usize) -> Vec<(Rank, Box<[u8]>)> {
        let (mut batch, mut taken) = (Vec::new(), 0);
        while taken < bytes
            && let Some((rank, line)) = self.pop()
        {
            taken += line.len();
            batch.push((rank, line));
        }
        batch
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn pop(&mut self) -> Option<(Rank, Box<[u8]>)> {
        let first = |rank: &Rank| self.waiting[*rank].front().map(|(number, _)| *number);
        let oldest = RANKS.into_iter().filter(|rank| first(rank).is_some());
        let rank = oldest.min_by_key(first)?;
        Some((rank, self.take(rank)?))
    }

    fn take(&mut self, rank: Rank) -> Option<Box<[u8]>> {
        let (_, line) = self.waiting[rank].pop_front()?;
        self.bytes -= line.len() + OVERHEAD;
        Some(line)
    }
}

impl<T> Index<Rank> for PerRank<T> {
    type Output = T;

    fn index(&self, rank: Rank) -> &T {
        let Self([access, event, warning]) = self;
        match rank {
            Rank::Access => access,
            Rank::Event => event,
            Rank::Warning => warning,
        }
    }
}

impl<T> IndexMut<Rank> for PerRank<T> {
    fn index_mut(&mut self, rank: Rank) -> &mut T {
        let Self([access, event, warning]) = self;
        match rank {
            Rank::Access => access,
            Rank::Event => event,
            Rank::Warning => warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for lines of one byte.
    fn room_for(lines: usize) -> Queue {
        Queue::new(lines * (1 + OVERHEAD))
    }

    fn text(queue: &mut Queue) -> String {
        let batch = queue.batch(usize::MAX);
        let lines = batch.iter().map(|(_, line)| String::from_utf8_lossy(line));
        lines.collect()
    }

    fn dropped(access: u64, event: u64, warning: u64) -> PerRank<u64> {
        PerRank([access, event, warning])
    }

    #[test]
    fn lines_come_out_in_the_order_they_came_in() {
        let mut queue = room_for(9);
        for (rank, line) in [
            (Rank::Warning, b"1"),
            (Rank::Access, b"2"),
            (Rank::Event, b"3"),
            (Rank::Access, b"4"),
        ] {
            assert_eq!(queue.push(rank, line), dropped(0, 0, 0));
        }
        assert_eq!(queue.batch(2).len(), 2);
        assert_eq!(text(&mut queue), "34");
        assert!(queue.is_empty());
    }

    #[test]
    fn r38_what_is_worth_least_is_dropped_first_and_warnings_last() {
        let mut queue = room_for(3);
        queue.push(Rank::Access, b"a");
        queue.push(Rank::Access, b"b");
        queue.push(Rank::Event, b"c");
        assert_eq!(queue.push(Rank::Access, b"x"), dropped(1, 0, 0));
        assert_eq!(queue.push(Rank::Event, b"d"), dropped(1, 0, 0));
        assert_eq!(queue.push(Rank::Warning, b"e"), dropped(1, 0, 0));
        assert_eq!(queue.push(Rank::Warning, b"f"), dropped(0, 1, 0));
        assert_eq!(queue.push(Rank::Event, b"x"), dropped(0, 1, 0));
        assert_eq!(queue.push(Rank::Warning, b"g"), dropped(0, 1, 0));
        assert_eq!(queue.push(Rank::Warning, b"x"), dropped(0, 0, 1));
        assert_eq!(text(&mut queue), "efg");
    }

    #[test]
    fn r39_the_queue_holds_no_more_bytes_than_it_has_room_for() {
        let mut queue = Queue::new(10_000);
        for round in 0..10_000usize {
            let rank = RANKS[round % 3];
            queue.push(rank, &vec![b'x'; round % 300]);
            assert!(queue.bytes <= 10_000);
        }
        let line = vec![b'x'; 10_000];
        assert!(queue.push(Rank::Warning, &line)[Rank::Warning] == 1);
    }
}
