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

/// How long a right is believed, and its absence: a scraper comes every few seconds.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// An address from which somebody was allowed is no stranger's for so long.
const TRUSTED_FOR: Duration = Duration::from_secs(3600);
const MAX_ANSWERS: usize = 256;
/// Questions at once; another every so often, for one address.
const BURST: u32 = 5;
const ANOTHER: Duration = Duration::from_secs(2);
/// And for all who were never allowed: a tenant may ask the agents of every node at once.
const ANOTHER_STRANGER: Duration = Duration::from_secs(30);
const MAX_ADDRESSES: usize = 1024;

/// Asks the API server.
pub struct MetricsAccess {
    cluster: Arc<dyn Cluster>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By the token's digest, with when they end.
    answers: HashMap<[u8; 32], (Access, Instant)>,
    callers: HashMap<IpAddr, Caller>,
    asked_for_strangers: Option<Asked>,
}

/// An address.
struct Caller {
    asked: Asked,
    /// Somebody was allowed from there, until then.
    trusted_until: Instant,
}

/// Questions asked of late.
struct Asked {
    count: u32,
    /// Since when they have been counted.
    since: Instant,
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
                self.lock().keep(digest, access, from, Instant::now());
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
        let (access, until) = self.answers.get(digest)?;
        (now < *until).then_some(*access)
    }

    /// One that is refused never takes the place of one that is allowed.
    fn keep(&mut self, digest: [u8; 32], access: Access, from: IpAddr, now: Instant) {
        let is_allowed = access == Access::Allowed;
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.retain(|_, (_, until)| now < *until);
        }
        if self.answers.len() >= MAX_ANSWERS && is_allowed {
            let refused = self
                .answers
                .iter()
                .find(|(_, (access, _))| *access != Access::Allowed);
            if let Some(digest) = refused.map(|(digest, _)| *digest) {
                self.answers.remove(&digest);
            }
        }
        if self.answers.len() < MAX_ANSWERS {
            let good_for = if is_allowed { ALLOWED_FOR } else { REFUSED_FOR };
            self.answers.insert(digest, (access, now + good_for));
        }
        if is_allowed && let Some(caller) = self.callers.get_mut(&from) {
            caller.trusted_until = now + TRUSTED_FOR;
        }
    }

    fn may_ask(&mut self, from: IpAddr, now: Instant) -> bool {
        if !self.callers.contains_key(&from) && self.callers.len() >= MAX_ADDRESSES {
            self.callers.retain(|_, caller| {
                now < caller.trusted_until || now - caller.asked.since < REFUSED_FOR
            });
            if self.callers.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let caller = self.callers.entry(from).or_insert_with(|| Caller {
            asked: Asked::new(now),
            trusted_until: now,
        });
        if !caller.asked.spend(ANOTHER, now) {
            return false;
        }
        let strangers = &mut self.asked_for_strangers;
        now < caller.trusted_until
            || strangers
                .get_or_insert_with(|| Asked::new(now))
                .spend(ANOTHER_STRANGER, now)
    }
}

impl Asked {
    fn new(now: Instant) -> Self {
        Self {
            count: 0,
            since: now,
        }
    }

    fn spend(&mut self, another: Duration, now: Instant) -> bool {
        let forgiven = (now - self.since).as_secs() / another.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(forgiven);
        self.since += another.saturating_mul(forgiven);
        if self.count >= BURST {
            return false;
        }
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 8));

    fn trust(known: &mut Known, from: IpAddr, now: Instant) {
        assert!(known.may_ask(from, now));
        known.keep([0; 32], Access::Allowed, from, now);
    }

    #[test]
    fn r37_one_address_has_the_api_server_asked_a_few_times_only() {
        let (mut known, now) = (Known::default(), Instant::now());
        trust(&mut known, OTHER, now);
        let asked = (0..100).filter(|_| known.may_ask(OTHER, now)).count();
        assert_eq!(asked, 4);
        assert!(!known.may_ask(OTHER, now + ANOTHER - Duration::from_millis(1)));
        assert!(known.may_ask(OTHER, now + ANOTHER));
        assert!(!known.may_ask(OTHER, now + ANOTHER));
    }

    #[test]
    fn r37_strangers_together_have_it_asked_a_few_times_only_and_keep_no_scraper_out() {
        let (mut known, now) = (Known::default(), Instant::now());
        trust(&mut known, SCRAPER, now);
        let stranger = |number: u32| IpAddr::V4(number.into());
        let asked = (0..500).filter(|number| known.may_ask(stranger(*number), now));
        assert_eq!(asked.count(), 4);
        assert!(known.may_ask(SCRAPER, now));
        assert!(known.may_ask(stranger(7), now + ANOTHER_STRANGER));
        assert!(!known.may_ask(stranger(8), now + ANOTHER_STRANGER));
    }

    #[test]
    fn an_answer_is_good_for_a_while_and_a_refusal_makes_room() {
        let (mut known, now) = (Known::default(), Instant::now());
        for number in 0..=255 {
            known.keep([number; 32], Access::Unauthenticated, OTHER, now);
        }
        known.keep([7; 32], Access::Forbidden, OTHER, now);
        let mut scraper = [7; 32];
        scraper[0] = 8;
        known.keep(scraper, Access::Allowed, SCRAPER, now);
        assert_eq!(known.answers.len(), MAX_ANSWERS);
        assert_eq!(
            known.answer(&scraper, now + REFUSED_FOR),
            Some(Access::Allowed)
        );
        assert_eq!(known.answer(&scraper, now + ALLOWED_FOR), None);
        assert_eq!(known.answer(&[9; 32], now + REFUSED_FOR), None);
    }

    #[test]
    fn r39_addresses_are_remembered_in_bounded_numbers() {
        let (mut known, now) = (Known::default(), Instant::now());
        for number in 0..2_000_u32 {
            known.may_ask(IpAddr::V4(number.into()), now);
        }
        assert_eq!(known.callers.len(), MAX_ADDRESSES);
        let later = now + REFUSED_FOR;
        assert!(known.may_ask(SCRAPER, later), "room comes with time");
    }
}
