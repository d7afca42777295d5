//! The trust bundle file: whom to believe as control plane, and what the node has acknowledged.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

/// A set of root certificates in DER, which two bundles have in common when they
/// trust the same, however their files are written.
pub type RootSet = BTreeSet<Vec<u8>>;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("reading {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the trust bundle is not PEM: {0}")]
    Pem(String),
    #[error("the trust bundle holds no certificate")]
    Empty,
    #[error("the trust bundle holds a root that cannot be used: {0}")]
    Root(rustls::Error),
}

/// One reading of the file.
#[derive(Debug)]
pub struct Bundle {
    /// Lower-case hexadecimal SHA-256 of the file's bytes.
    pub sha256: String,
    pub roots: Arc<RootCertStore>,
    pub set: RootSet,
}

impl Bundle {
    /// # Errors
    /// When `pem` holds anything but usable certificates, or none.
    pub fn parse(pem: &[u8]) -> Result<Self, BundleError> {
        let certificates = certificates(pem)?;
        Ok(Self {
            sha256: Sha256::digest(pem)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            roots: Arc::new(root_store(&certificates)?),
            set: certificates.iter().map(|der| der.to_vec()).collect(),
        })
    }
}

/// All certificates of a PEM text.
///
/// # Errors
/// When the text is not PEM or holds no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|err| BundleError::Pem(err.to_string()))?;
    if all.is_empty() {
        Err(BundleError::Empty)
    } else {
        Ok(all)
    }
}

/// # Errors
/// When a certificate cannot be a trust anchor.
pub fn root_store(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, BundleError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(BundleError::Root)?;
    }
    Ok(roots)
}

/// The file, and its last good reading.
#[derive(Debug)]
pub struct TrustBundle {
    path: PathBuf,
    last: ArcSwapOption<Bundle>,
}

impl TrustBundle {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            last: ArcSwapOption::empty(),
        }
    }

    /// Reads the file again. A reading that fails leaves the last good one in place.
    ///
    /// # Errors
    /// When the file is missing, or not a bundle.
    pub fn reload(&self) -> Result<Arc<Bundle>, BundleError> {
        let pem = std::fs::read(&self.path).map_err(|source| BundleError::Read {
            path: self.path.clone(),
            source,
        })?;
        let bundle = Arc::new(Bundle::parse(&pem)?);
        self.last.store(Some(bundle.clone()));
        Ok(bundle)
    }

    /// The last good reading; none before the first.
    pub fn last(&self) -> Option<Arc<Bundle>> {
        self.last.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn root() -> String {
        CertificateParams::default()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    #[test]
    fn order_and_spacing_do_not_change_what_is_trusted() {
        let (a, b) = (root(), root());
        let one = Bundle::parse(format!("{a}{b}").as_bytes()).unwrap();
        let two = Bundle::parse(format!("\n{b}\n# a comment\n{a}\n").as_bytes()).unwrap();
        assert_eq!(one.set, two.set);
        assert_ne!(one.sha256, two.sha256);
        assert_eq!(one.roots.len(), 2);
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        assert!(matches!(Bundle::parse(b""), Err(BundleError::Empty)));
        assert!(matches!(Bundle::parse(b"hello"), Err(BundleError::Empty)));
        assert!(
            Bundle::parse(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").is_err()
        );
        assert!(matches!(
            Bundle::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Err(BundleError::Root(_))
        ));
    }
}
