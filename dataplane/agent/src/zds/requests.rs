//! Requests that a proxy has not answered yet.
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::handover::Attempt;

/// A proxy that does not acknowledge for so long is taken for lost; it may connect again.
pub const ACK_LIMIT: Duration = Duration::from_secs(30);
/// To a proxy that answers in any order. Two proxies of a node, during an upgrade, then ask for no
/// more certificates at once than tulle-control takes from a node.
const MOST_UNDER_WAY: usize = 128;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Add { uid: String, attempt: Attempt },
    Del { uid: String },
    SnapshotSent,
}

/// The requests under way on one connection.
pub struct Requests {
    any_order: bool,
    last: u64,
    /// By number, and so in the order of their time limits. The only one of a proxy that answers in
    /// order has number 0, which the wire does not carry.
    under_way: BTreeMap<u64, (Asked, Instant)>,
}

impl Requests {
    pub fn new(any_order: bool) -> Self {
        Self {
            any_order,
            last: 0,
            under_way: BTreeMap::new(),
        }
    }

    /// Whether another may be begun.
    pub fn has_room(&self) -> bool {
        let most = if self.any_order { MOST_UNDER_WAY } else { 1 };
        self.under_way.len() < most
    }

    /// Notes a request; returns the number to send it with.
    pub fn begin(&mut self, asked: Asked) -> u64 {
        if self.any_order {
            self.last += 1;
        }
        let deadline = Instant::now() + ACK_LIMIT;
        self.under_way.insert(self.last, (asked, deadline));
        self.last
    }

    /// What the answer with this number answers; none if nothing was asked with it.
    pub fn answered(&mut self, number: u64) -> Option<Asked> {
        self.under_way.remove(&number).map(|(asked, _)| asked)
    }

    /// Waits until an answer is overdue.
    pub async fn overdue(&self) {
        match self.under_way.first_key_value() {
            Some((_, (_, deadline))) => tokio::time::sleep_until(*deadline).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn del(uid: &str) -> Asked {
        Asked::Del { uid: uid.into() }
    }

    #[test]
    fn a_proxy_that_answers_in_order_is_asked_one_thing_at_a_time_without_a_number() {
        let mut requests = Requests::new(false);
        assert_eq!(requests.begin(del("a")), 0);
        assert!(!requests.has_room());
        assert_eq!(requests.answered(1), None);
        assert_eq!(requests.answered(0), Some(del("a")));
        assert_eq!(requests.begin(del("b")), 0);
    }

    #[test]
    fn r38_answers_in_any_order_find_their_requests_and_there_are_never_too_many() {
        let mut requests = Requests::new(true);
        let numbers: Vec<_> = (0..MOST_UNDER_WAY)
            .map(|uid| {
                assert!(requests.has_room());
                requests.begin(del(&uid.to_string()))
            })
            .collect();
        assert!(!requests.has_room());
        assert_eq!(requests.answered(numbers[100]), Some(del("100")));
        assert_eq!(requests.answered(numbers[100]), None, "answered already");
        assert_eq!(requests.answered(numbers[0]), Some(del("0")));
        assert!(requests.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_overdue_after_its_own_time_whatever_else_is_answered() {
        let mut requests = Requests::new(true);
        let began = Instant::now();
        requests.begin(del("a"));
        tokio::time::advance(ACK_LIMIT / 2).await;
        let later = requests.begin(del("b"));
        requests.answered(later);
        requests.overdue().await;
        assert_eq!(began.elapsed(), ACK_LIMIT);
    }
}
