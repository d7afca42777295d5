//! Whether the roots in force still vouch for a peer that was believed when its tunnel began.
//! Roots change while tunnels are open; a tunnel whose peer only a retired root vouches for must
//! not outlive that root. That the peer's certificate has expired since is no reason to end its
//! tunnel: the roots are asked about the time when it began.
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificate::{Role, WorkloadCertificate};
use crate::lock::lock;

/// A peer's certificates and what was last said of them.
pub struct Vouched {
    chain: Vec<CertificateDer<'static>>,
    role: Role,
    /// When its certificates were verified for the first time.
    began: UnixTime,
    last: Mutex<(Arc<WorkloadCertificate>, bool)>,
}

impl Vouched {
    /// A peer that showed `chain`, its leaf first, and was verified by `certificate`'s roots.
    pub fn new(
        chain: &[CertificateDer<'_>],
        role: Role,
        certificate: Arc<WorkloadCertificate>,
    ) -> Self {
        Self {
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            role,
            began: UnixTime::now(),
            last: Mutex::new((certificate, true)),
        }
    }

    /// Whether the roots that came with `now`, our own certificate, vouch for it.
    pub fn by(&self, now: &Arc<WorkloadCertificate>) -> bool {
        let mut last = lock(&self.last);
        let (before, vouched) = &mut *last;
        if !Arc::ptr_eq(before, now) {
            // The same roots would say the same.
            if before.root_set() != now.root_set() {
                *vouched = now.verify(&self.chain, &self.role, self.began).is_ok();
            }
            *before = now.clone();
        }
        *vouched
    }
}
