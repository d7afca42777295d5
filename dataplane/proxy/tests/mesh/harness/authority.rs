//! An authority that signs whatever the test wants.
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

pub struct Authority {
    pem: String,
    /// What leads from a leaf to its roots, where it is no root itself.
    intermediates: Vec<String>,
    /// All roots it tells of.
    told: Mutex<String>,
    /// Who signs in its place.
    successor: Mutex<Option<Arc<Authority>>>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub struct Credentials {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = signing(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            told: Mutex::new(pem.clone()),
            pem,
            intermediates: Vec::new(),
            successor: Mutex::default(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An intermediate that signs leaves only, and tells of this one's roots.
    pub fn intermediate(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = signing(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "an intermediate");
        let pem = self.certificate(params.clone(), &key);
        Self {
            told: Mutex::new(self.roots_pem()),
            intermediates: vec![pem.clone()],
            pem,
            successor: Mutex::default(),
            issuer: Issuer::new(params, key),
        }
    }

    /// All roots it tells of; at first its own.
    pub fn roots_pem(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    /// Tells of another root beside its own from now on.
    pub fn also_trust(&self, other: &Self) {
        self.tell_roots_of(&[self, other]);
    }

    /// Tells of these authorities' own roots from now on, and of no others.
    pub fn tell_roots_of(&self, authorities: &[&Self]) {
        let roots = authorities.iter().map(|authority| authority.pem.as_str());
        *self.told.lock().unwrap() = roots.collect();
    }

    /// Has everything signed by another from now on.
    pub fn hand_over(&self, successor: &Arc<Self>) {
        *self.successor.lock().unwrap() = Some(successor.clone());
    }

    /// Answers a signing request: leaf, what leads to the roots, then the roots.
    pub fn sign(&self, csr: &str, identity: &str) -> Vec<String> {
        self.sign_for(csr, identity, Validity::Now)
    }

    /// The same, with a certificate that is or is not in force.
    pub fn sign_for(&self, csr: &str, identity: &str, validity: Validity) -> Vec<String> {
        let request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let leaf = leaf(&[uri(identity)], validity);
        let leaf = self.certificate(leaf, &request.public_key);
        let to_roots = self.intermediates.iter().cloned();
        std::iter::once(leaf)
            .chain(to_roots)
            .chain([self.roots_pem()])
            .collect()
    }

    /// Credentials made on the spot, good or bad as asked.
    pub fn credentials(&self, names: &[SanType], validity: Validity) -> Credentials {
        let key = KeyPair::generate().unwrap();
        Credentials {
            chain: self.certificate(leaf(names, validity), &key),
            key: key.serialize_pem(),
        }
    }

    fn certificate(&self, params: CertificateParams, key: &impl PublicKeyData) -> String {
        let successor = self.successor.lock().unwrap();
        let issuer = successor
            .as_ref()
            .map_or(&self.issuer, |other| &other.issuer);
        params.signed_by(key, issuer).unwrap().pem()
    }
}

#[derive(Clone, Copy)]
pub enum Validity {
    Now,
    Over,
    NotYet,
    /// From now on, for so long; certificates know whole seconds.
    For(Duration),
}

fn signing(constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

pub fn uri(value: &str) -> SanType {
    SanType::URI(value.try_into().unwrap())
}

fn leaf(names: &[SanType], validity: Validity) -> CertificateParams {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let (from, to) = match validity {
        Validity::Now => (now - hour, now + hour),
        Validity::Over => (now - 2 * hour, now - hour),
        Validity::NotYet => (now + hour, now + 2 * hour),
        Validity::For(life) => (now, now + life),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.not_before = from.into();
    params.not_after = to.into();
    params
}

impl Credentials {
    /// A certificate nobody but its own key vouches for.
    pub fn self_signed(names: &[SanType]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            chain: leaf(names, Validity::Now).self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .map(Result::unwrap)
            .collect()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A server that believes any client.
pub fn server(credentials: &Credentials) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(tulle_proxy::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(credentials.certificates(), credentials.private_key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A client that believes any server, and shows `credentials`, where it has any.
pub fn client(credentials: Option<&Credentials>) -> Arc<ClientConfig> {
    client_speaking(&[&rustls::version::TLS13], credentials)
}

/// The same in other versions of TLS, with the library's own cipher suites.
pub fn client_speaking(
    versions: &[&'static SupportedProtocolVersion],
    credentials: Option<&Credentials>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match credentials {
        Some(c) => builder
            .with_client_auth_cert(c.certificates(), c.private_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Believes any server: these clients test the server's checks, not their own.
#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("no server here speaks TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        tulle_proxy::tls::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
