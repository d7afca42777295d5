//! Who a certificate says its holder is.
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::spiffe::{SpiffeError, SpiffeId};

/// Why a certificate names no workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the certificate cannot be parsed")]
    Malformed,
    #[error("the certificate has {0} URI names, not exactly one")]
    UriNames(usize),
    #[error("the certificate's URI name {0}")]
    Identity(#[from] SpiffeError),
}

/// The one SPIFFE ID of a certificate (X509-SVID, section 2).
///
/// # Errors
/// When the certificate cannot be parsed, or has none or several URI names, or one that is no SPIFFE ID.
pub fn spiffe_id(certificate: &CertificateDer<'_>) -> Result<SpiffeId, PeerError> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| PeerError::Malformed)?;
    if !rest.is_empty() {
        return Err(PeerError::Malformed);
    }
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| PeerError::Malformed)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        others => Err(PeerError::UriNames(others.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    fn uri(value: &str) -> SanType {
        SanType::URI(value.try_into().unwrap())
    }

    #[test]
    fn exactly_one_uri_name_is_an_identity() {
        let id = "spiffe://cluster.local/ns/a/sa/b";
        assert_eq!(spiffe_id(&certificate(vec![uri(id)])).unwrap().as_str(), id);
        let dns = SanType::DnsName("a.b".try_into().unwrap());
        assert_eq!(
            spiffe_id(&certificate(vec![dns.clone(), uri(id)]))
                .unwrap()
                .as_str(),
            id
        );
        assert_eq!(spiffe_id(&certificate(vec![])), Err(PeerError::UriNames(0)));
        assert_eq!(
            spiffe_id(&certificate(vec![dns])),
            Err(PeerError::UriNames(0))
        );
        assert_eq!(
            spiffe_id(&certificate(vec![uri(id), uri(id)])),
            Err(PeerError::UriNames(2))
        );
        assert!(matches!(
            spiffe_id(&certificate(vec![uri("https://a")])),
            Err(PeerError::Identity(_))
        ));
    }

    #[test]
    fn r28_damaged_certificates_never_panic() {
        let good = certificate(vec![uri("spiffe://cluster.local/ns/a/sa/b")]);
        assert_eq!(
            spiffe_id(&CertificateDer::from(vec![])),
            Err(PeerError::Malformed)
        );
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(
            spiffe_id(&CertificateDer::from(longer)),
            Err(PeerError::Malformed)
        );
        fuzz::rounds(20_000, |random| {
            let mut bytes = good.to_vec();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            // Any answer but a panic will do: the chain's signature is checked before this.
            let _ = spiffe_id(&CertificateDer::from(bytes));
        });
    }
}
