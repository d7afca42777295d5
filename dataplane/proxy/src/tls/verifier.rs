//! Checks of the other side's certificate, beyond its chain.
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use super::peer::{PeerError, spiffe_id};
use super::provider;
use crate::spiffe::{SpiffeId, TrustDomain};

/// The peer is somebody else than who was expected.
#[derive(Debug, thiserror::Error)]
pub enum IdentityMismatch {
    #[error("the peer is {shown}, not {expected}")]
    Identity { expected: SpiffeId, shown: SpiffeId },
    #[error("the peer {shown} is of another trust domain than {expected}")]
    TrustDomain {
        expected: TrustDomain,
        shown: SpiffeId,
    },
    #[error(transparent)]
    Unnamed(#[from] PeerError),
}

impl From<IdentityMismatch> for Error {
    fn from(mismatch: IdentityMismatch) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
    }
}

/// A failed handshake in words: the library's own hide which identity was shown.
pub fn explain(err: io::Error) -> io::Error {
    let mismatch = err
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .and_then(|tls| match tls {
            Error::InvalidCertificate(CertificateError::Other(OtherError(mismatch))) => {
                Some(mismatch.to_string())
            }
            _ => None,
        });
    mismatch.map_or(err, |text| {
        io::Error::new(io::ErrorKind::PermissionDenied, text)
    })
}

/// Accepts a server whose chain ends in `roots` and whose identity is exactly `expected`.
/// The name dialled plays no part: pods are dialled by address, trusted by identity.
#[derive(Debug)]
pub struct ExactServer {
    roots: Arc<RootCertStore>,
    expected: SpiffeId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactServer {
    pub fn new(roots: Arc<RootCertStore>, expected: SpiffeId) -> Self {
        Self {
            roots,
            expected,
            algorithms: provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for ExactServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let shown = spiffe_id(end_entity).map_err(IdentityMismatch::from)?;
        if shown != self.expected {
            let expected = self.expected.clone();
            return Err(IdentityMismatch::Identity { expected, shown }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Requires a client certificate whose chain ends in the roots and whose one identity is of `trust_domain`.
#[derive(Debug)]
pub struct MeshClient {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: TrustDomain,
}

impl MeshClient {
    /// # Errors
    /// When `roots` is empty.
    pub fn new(roots: Arc<RootCertStore>, trust_domain: TrustDomain) -> Result<Self, Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|err| Error::General(err.to_string()))?;
        Ok(Self {
            chain,
            trust_domain,
        })
    }
}

impl ClientCertVerifier for MeshClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        let shown = spiffe_id(end_entity).map_err(IdentityMismatch::from)?;
        if shown.trust_domain() != &self.trust_domain {
            let expected = self.trust_domain.clone();
            return Err(IdentityMismatch::TrustDomain { expected, shown }.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
