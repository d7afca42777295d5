//! When to ask for the next certificate.
use std::time::{Duration, SystemTime};

use super::certificate::Validity;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A certificate that comes half-dead must not make us ask in a loop.
const LEAST_WAIT: Duration = Duration::from_secs(5);

/// How long to wait before renewing: until half-life, give or take a tenth of the
/// lifetime, so that pods started together do not renew together. `chance` is in 0..1.
pub fn renewal_delay(validity: &Validity, now: SystemTime, chance: f64) -> Duration {
    let lifetime = validity
        .not_after
        .duration_since(validity.not_before)
        .unwrap_or_default();
    let point = validity.not_before + lifetime.mul_f64(0.4 + 0.2 * chance.clamp(0.0, 1.0));
    point
        .duration_since(now)
        .unwrap_or_default()
        .max(LEAST_WAIT)
}

/// How long to wait after the `failures`-th failure in a row (from 1): doubling,
/// and somewhere between half and all of it, by `chance` in 0..1.
pub fn retry_delay(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1u32 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST_RETRY)
        .mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_around_half_life() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let day = Duration::from_secs(86_400);
        let validity = Validity {
            not_before: now,
            not_after: now + day,
            serial: String::new(),
        };
        assert_eq!(renewal_delay(&validity, now, 0.0), day.mul_f64(0.4));
        assert_eq!(renewal_delay(&validity, now, 0.5), day / 2);
        assert_eq!(renewal_delay(&validity, now, 1.0), day.mul_f64(0.6));
        assert_eq!(renewal_delay(&validity, now + day, 0.5), LEAST_WAIT);
    }

    #[test]
    fn retries_double_up_to_a_limit() {
        assert_eq!(retry_delay(1, 1.0), Duration::from_millis(100));
        assert_eq!(retry_delay(2, 1.0), Duration::from_millis(200));
        assert_eq!(retry_delay(3, 0.0), Duration::from_millis(200));
        assert_eq!(retry_delay(u32::MAX, 1.0), LONGEST_RETRY);
    }
}
