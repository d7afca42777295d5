//! One certificate an identity, however many pods share it; kept fresh while any does.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::ca_client::{IssueError, Issuer};
use super::certificate::{CertificateError, CertificateRequest, WorkloadCertificate};
use super::renewal::{renewal_delay, retry_delay};
use crate::lock::lock;
use crate::spiffe::SpiffeId;
use crate::telemetry::metrics::Metrics;
use crate::tls::bundle::RootSet;

const ISSUE_LIMIT: Duration = Duration::from_secs(10);
/// A changed bundle makes every identity of the node renew; this spreads them.
const ROTATION_SPREAD: Duration = Duration::from_secs(3);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate authority did not answer within {} s", ISSUE_LIMIT.as_secs())]
    TimedOut,
}

impl FetchError {
    fn is_definite(&self) -> bool {
        matches!(self, Self::Issue(err) if err.is_definite())
    }
}

/// Why an identity is without a certificate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Missing {
    #[error("no certificate for {identity}: {reason}")]
    Refused { identity: SpiffeId, reason: String },
    #[error("no certificate for {identity} within {} s: {reason}", limit.as_secs())]
    Late {
        identity: SpiffeId,
        limit: Duration,
        reason: String,
    },
}

/// Where an identity's certificate is kept. Dropping the last of these stops its renewal.
pub struct IdentitySlot {
    identity: SpiffeId,
    state: watch::Sender<SlotState>,
    refresh: Arc<Notify>,
    stop: CancellationToken,
}

#[derive(Default, Clone)]
struct SlotState {
    certificate: Option<Arc<WorkloadCertificate>>,
    last_failure: Option<Failure>,
}

#[derive(Clone)]
struct Failure {
    reason: String,
    definite: bool,
}

impl SlotState {
    fn is_refused(&self) -> bool {
        self.last_failure
            .as_ref()
            .is_some_and(|failure| failure.definite)
    }
}

impl IdentitySlot {
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// The certificate to use now; none before the first, or past its end.
    pub fn current(&self) -> Option<Arc<WorkloadCertificate>> {
        let certificate = self.state.borrow().certificate.clone();
        certificate.filter(|certificate| in_force(Some(certificate)))
    }

    /// Every certificate from now on, that of now first.
    pub fn renewals(&self) -> Renewals {
        let mut state = self.state.subscribe();
        state.mark_changed();
        Renewals(state)
    }

    /// Waits for a certificate until there is one, it is refused, or `limit` has passed.
    ///
    /// # Errors
    /// The last failure, or that the time is up.
    pub async fn ready(&self, limit: Duration) -> Result<Arc<WorkloadCertificate>, Missing> {
        let mut state = self.state.subscribe();
        let is_over =
            |state: &SlotState| in_force(state.certificate.as_ref()) || state.is_refused();
        let wait = state.wait_for(is_over);
        // Whether the wait was over in time or not: the state says what came of it.
        let _in_time = tokio::time::timeout(limit, wait).await;
        let state = self.state.borrow().clone();
        if let Some(certificate) = state.certificate.clone()
            && in_force(Some(&certificate))
        {
            return Ok(certificate);
        }
        let identity = self.identity.clone();
        Err(match state.last_failure {
            Some(Failure {
                reason,
                definite: true,
            }) => Missing::Refused { identity, reason },
            failure => Missing::Late {
                identity,
                limit,
                reason: failure.map_or_else(|| "no answer yet".to_owned(), |last| last.reason),
            },
        })
    }
}

/// Whether there is one that has not ended.
fn in_force(certificate: Option<&Arc<WorkloadCertificate>>) -> bool {
    certificate.is_some_and(|certificate| SystemTime::now() < certificate.validity().not_after)
}

/// An identity's certificates as they come.
pub struct Renewals(watch::Receiver<SlotState>);

impl Renewals {
    /// The newest that has not been told yet; waits for ever once the identity is in use no longer.
    pub async fn next(&mut self) -> Arc<WorkloadCertificate> {
        while self.0.changed().await.is_ok() {
            if let Some(certificate) = &self.0.borrow_and_update().certificate {
                return certificate.clone();
            }
        }
        std::future::pending().await
    }
}

impl Drop for IdentitySlot {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Hands out identities' slots.
pub struct CertificateManager {
    issuer: Arc<dyn Issuer>,
    metrics: Arc<Metrics>,
    slots: Mutex<HashMap<SpiffeId, Weak<IdentitySlot>>>,
}

impl CertificateManager {
    pub fn new(issuer: Arc<dyn Issuer>, metrics: Arc<Metrics>) -> Self {
        Self {
            issuer,
            metrics,
            slots: Mutex::default(),
        }
    }

    /// The slot of `identity`; the first to ask starts fetching.
    pub fn acquire(&self, identity: &SpiffeId) -> Arc<IdentitySlot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(identity).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(IdentitySlot {
            identity: identity.clone(),
            state: watch::Sender::default(),
            refresh: Arc::default(),
            stop: CancellationToken::new(),
        });
        slots.insert(identity.clone(), Arc::downgrade(&slot));
        let maintenance = maintain(
            Arc::downgrade(&slot),
            self.issuer.clone(),
            self.metrics.clone(),
        );
        let stop = slot.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(maintenance).await });
        slot
    }

    /// Every identity in use now.
    pub fn in_use(&self) -> Vec<Arc<IdentitySlot>> {
        self.slots().values().filter_map(Weak::upgrade).collect()
    }

    /// Renews what came with other roots than `bundle`; says whether all agree with it already.
    pub fn agree_with(&self, bundle: &RootSet) -> bool {
        let mut agreed = true;
        for slot in self.in_use() {
            let certificate = slot.state.borrow().certificate.clone();
            if certificate.is_some_and(|certificate| certificate.root_set() != bundle) {
                agreed = false;
                slot.refresh.notify_one();
            }
        }
        agreed
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<SpiffeId, Weak<IdentitySlot>>> {
        lock(&self.slots)
    }
}

/// Fetches, waits until half-life, fetches again; after a failure, retries sooner.
/// What was there stays in use until it ends.
async fn maintain(slot: Weak<IdentitySlot>, issuer: Arc<dyn Issuer>, metrics: Arc<Metrics>) {
    let mut failures = 0u32;
    loop {
        let Some(held) = slot.upgrade() else { return };
        let (identity, refresh) = (held.identity.clone(), held.refresh.clone());
        drop(held);
        let outcome = fetch(&*issuer, &identity).await;
        let Some(held) = slot.upgrade() else { return };
        metrics.certificate_fetched(outcome.is_ok());
        let wait = match outcome {
            Ok(certificate) => {
                failures = 0;
                let wait =
                    renewal_delay(certificate.validity(), SystemTime::now(), fastrand::f64());
                tracing::info!(identity = %identity, serial = certificate.validity().serial,
                    renewal_seconds = wait.as_secs(), "certificate fetched");
                held.state.send_replace(SlotState {
                    certificate: Some(Arc::new(certificate)),
                    last_failure: None,
                });
                wait
            }
            Err(err) => {
                failures = failures.saturating_add(1);
                let wait = retry_delay(failures, fastrand::f64());
                tracing::warn!(identity = %identity, err = %err, failures,
                    retry_milliseconds = wait.as_millis(), "certificate not fetched");
                let failure = Failure {
                    reason: err.to_string(),
                    definite: err.is_definite(),
                };
                held.state
                    .send_modify(|state| state.last_failure = Some(failure));
                wait
            }
        };
        drop(held);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = refresh.notified() => {
                tokio::time::sleep(ROTATION_SPREAD.mul_f64(fastrand::f64())).await;
            }
        }
    }
}

async fn fetch(
    issuer: &dyn Issuer,
    identity: &SpiffeId,
) -> Result<WorkloadCertificate, FetchError> {
    let request = CertificateRequest::new(identity)?;
    let answer = tokio::time::timeout(ISSUE_LIMIT, issuer.issue(identity, request.csr()))
        .await
        .map_err(|_| FetchError::TimedOut)??;
    Ok(request.complete(&answer)?)
}
