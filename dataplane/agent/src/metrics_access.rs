//! Who may read metrics: users that may `get` the path /metrics. What is asked of the API server for
//! callers at one address is limited; a scraper whose token is known needs no question.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::warn;
use tulle_metrics_server::{Access, Authorize};

use crate::cluster::Cluster;

/// How long an answer is good for: a scraper comes every few seconds.
const GOOD_FOR: Duration = Duration::from_secs(60);
const MAX_ANSWERS: usize = 256;
/// Questions for one address at once; another every so often.
const BURST: u32 = 5;
const ANOTHER: Duration = Duration::from_secs(2);
const MAX_ADDRESSES: usize = 1024;

/// Asks the API server.
pub struct MetricsAccess {
    cluster: Arc<dyn Cluster>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By the token's digest.
    answers: HashMap<[u8; 32], (Access, Instant)>,
    /// Questions asked of late, and since when they have been counted.
    asked: HashMap<IpAddr, (u32, Instant)>,
}

impl MetricsAccess {
    pub fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self {
            cluster,
            known: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authorize for MetricsAccess {
    async fn authorize(&self, token: &str, from: IpAddr) -> Access {
        let digest = Sha256::digest(token).into();
        {
            let (mut known, now) = (self.lock(), Instant::now());
            if let Some(access) = known.answer(&digest, now) {
                return access;
            }
            if !known.may_ask(from, now) {
                return Access::Unknown;
            }
        }
        match self.cluster.may_read_metrics(token).await {
            Ok(access) => {
                self.lock().keep(digest, access, Instant::now());
                access
            }
            Err(err) => {
                warn!(%err, %from, "the API server does not say whether a caller may read metrics");
                Access::Unknown
            }
        }
    }
}

impl Known {
    fn answer(&self, digest: &[u8; 32], now: Instant) -> Option<Access> {
        let (access, since) = self.answers.get(digest)?;
        (now - *since < GOOD_FOR).then_some(*access)
    }

    fn keep(&mut self, digest: [u8; 32], access: Access, now: Instant) {
        self.answers.retain(|_, (_, since)| now - *since < GOOD_FOR);
        if self.answers.len() < MAX_ANSWERS {
            self.answers.insert(digest, (access, now));
        }
    }

    fn may_ask(&mut self, from: IpAddr, now: Instant) -> bool {
        if !self.asked.contains_key(&from) && self.asked.len() >= MAX_ADDRESSES {
            self.asked.retain(|_, (_, since)| now - *since < GOOD_FOR);
            if self.asked.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (count, since) = self.asked.entry(from).or_insert((0, now));
        let forgiven = (now - *since).as_secs() / ANOTHER.as_secs();
        *count = count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        *since += ANOTHER * u32::try_from(forgiven).unwrap_or_default();
        if *count >= BURST {
            return false;
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 8));

    #[test]
    fn r37_one_address_has_the_api_server_asked_a_few_times_only() {
        let (mut known, now) = (Known::default(), Instant::now());
        let asked = (0..100).filter(|_| known.may_ask(OTHER, now)).count();
        assert_eq!(asked, 5);
        assert!(known.may_ask(SCRAPER, now));
        assert!(!known.may_ask(OTHER, now + ANOTHER - Duration::from_millis(1)));
        assert!(known.may_ask(OTHER, now + ANOTHER));
        assert!(!known.may_ask(OTHER, now + ANOTHER));
    }

    #[test]
    fn an_answer_is_good_for_a_minute() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.keep([1; 32], Access::Allowed, now);
        assert_eq!(known.answer(&[1; 32], now), Some(Access::Allowed));
        assert_eq!(known.answer(&[2; 32], now), None);
        assert_eq!(known.answer(&[1; 32], now + GOOD_FOR), None);
    }

    #[test]
    fn r39_tokens_and_addresses_are_remembered_in_bounded_numbers() {
        let (mut known, now) = (Known::default(), Instant::now());
        for number in 0..2_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            known.keep(digest, Access::Unauthenticated, now);
            known.may_ask(IpAddr::V4(number.into()), now);
        }
        assert_eq!((known.answers.len(), known.asked.len()), (256, 1024));
        assert!(
            known.may_ask(SCRAPER, now + GOOD_FOR),
            "room comes with time"
        );
    }
}
