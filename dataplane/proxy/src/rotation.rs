//! Following the trust bundle: when its roots change, every certificate is renewed, and only
//! when all have come with the new roots does this proxy acknowledge the bundle.
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::shared::Shared;
use crate::tls::bundle::TrustBundle;

/// How often the file is looked at. Kubelets replace it within a minute; this adds little.
const EVERY: Duration = Duration::from_secs(5);

/// The bundle this proxy really goes by.
pub struct Acknowledged {
    bundle: Arc<TrustBundle>,
    sha256: ArcSwapOption<String>,
}

impl Acknowledged {
    pub fn new(bundle: Arc<TrustBundle>) -> Self {
        Self {
            bundle,
            sha256: ArcSwapOption::empty(),
        }
    }

    /// Lower-case hexadecimal SHA-256 of the file; none while certificates of other roots are in use.
    pub fn sha256(&self) -> Option<Arc<String>> {
        self.sha256.load_full()
    }

    /// Follows the file for ever.
    pub async fn follow(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            self.look(&shared);
            tokio::time::sleep(EVERY).await;
        }
    }

    fn look(&self, shared: &Shared) {
        let in_use = shared.certificates.in_use();
        shared
            .metrics
            .certificates(in_use.iter().filter_map(|slot| {
                slot.current()
                    .map(|c| (slot.identity().to_string(), c.validity().not_after))
            }));
        let bundle = match self.bundle.reload() {
            Ok(bundle) => bundle,
            Err(err) => {
                tracing::warn!(%err, "trust bundle");
                return;
            }
        };
        let agreed = shared.certificates.agree_with(&bundle.set);
        let before = self
            .sha256
            .swap(agreed.then(|| Arc::new(bundle.sha256.clone())));
        let changed = before.as_deref() != Some(&bundle.sha256);
        if changed && agreed {
            tracing::info!(sha256 = bundle.sha256, "trust bundle acknowledged");
        } else if changed {
            tracing::info!(
                sha256 = bundle.sha256,
                "certificates of other roots in use: renewing"
            );
        }
    }
}
