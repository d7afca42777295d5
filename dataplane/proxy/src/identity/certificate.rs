//! A workload's certificate: asked for with a fresh key, checked, and turned into TLS configurations.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::spiffe::SpiffeId;
use crate::tls::bundle::{BundleError, RootSet, certificates, root_store};
use crate::tls::verifier::{ExactServer, MeshClient};
use crate::tls::{ALPN_H2, provider};

/// Why a certificate could not be asked for, or the answer not be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("making a key and signing request: {0}")]
    Request(#[from] rcgen::Error),
    #[error("the answer has {0} elements; at least a certificate and the roots are needed")]
    TooShort(usize),
    #[error("in the answer's chain: {0}")]
    Chain(#[from] BundleError),
    #[error("the answer's certificate was refused: {0}")]
    Refused(#[from] rustls::Error),
    #[error("the answer's certificate cannot be parsed")]
    Malformed,
}

/// Which end of the tunnel the peer is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It dialled us, and is of our trust domain.
    Client,
    /// We dialled it, and it is exactly this.
    Server(SpiffeId),
}

/// A fresh P-256 key and the request that goes out for it. The key never leaves memory.
pub struct CertificateRequest {
    identity: SpiffeId,
    key: KeyPair,
    csr: String,
}

impl CertificateRequest {
    /// # Errors
    /// When the key or request cannot be made.
    pub fn new(identity: &SpiffeId) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into()?)];
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self {
            identity: identity.clone(),
            key,
            csr,
        })
    }

    /// The signing request in PEM.
    pub fn csr(&self) -> &str {
        &self.csr
    }

    /// Takes the authority's answer: leaf, intermediates, and last the root bundle, PEM each.
    ///
    /// # Errors
    /// When the chain does not lead from our key and identity to the roots, now.
    pub fn complete(self, answer: &[String]) -> Result<WorkloadCertificate, CertificateError> {
        let [chain @ .., roots] = answer else {
            return Err(CertificateError::TooShort(0));
        };
        if chain.is_empty() {
            return Err(CertificateError::TooShort(answer.len()));
        }
        let chain = certificates(chain.concat().as_bytes())?;
        let root_certificates = certificates(roots.as_bytes())?;
        let roots = Arc::new(root_store(&root_certificates)?);

        let pkcs8 = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(pkcs8))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match()?;
        // Our own certificate goes through the check that peers will make.
        verify_server(&certified.cert, &roots, &self.identity, UnixTime::now())?;
        let leaf = certified.cert.first().ok_or(CertificateError::Malformed)?;
        let validity = Validity::of(leaf)?;

        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let domain = self.identity.trust_domain().clone();
        let clients = Arc::new(MeshClient::new(roots.clone(), domain)?);
        Ok(WorkloadCertificate {
            server: Arc::new(server_config(clients.clone(), resolver.clone())?),
            clients,
            identity: self.identity,
            resolver,
            roots,
            root_set: root_certificates.iter().map(|der| der.to_vec()).collect(),
            validity,
        })
    }
}

/// Verifies a chain as one who dials `identity` does.
fn verify_server(
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    identity: &SpiffeId,
    at: UnixTime,
) -> Result<(), rustls::Error> {
    let [leaf, intermediates @ ..] = chain else {
        return Err(rustls::Error::NoCertificatesPresented);
    };
    let unused_name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    ExactServer::new(roots.clone(), identity.clone()).verify_server_cert(
        leaf,
        intermediates,
        &unused_name,
        &[],
        at,
    )?;
    Ok(())
}

/// When a certificate holds, and its serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Lower-case hexadecimal.
    pub serial: String,
}

impl Validity {
    /// # Errors
    /// When `certificate` cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).map_err(|_| CertificateError::Malformed)?;
            Ok::<_, CertificateError>(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        Ok(Self {
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            serial: parsed.tbs_certificate.serial.to_str_radix(16),
        })
    }
}

/// A certificate in use, with the roots that came with it.
pub struct WorkloadCertificate {
    identity: SpiffeId,
    resolver: Arc<SingleCertAndKey>,
    roots: Arc<RootCertStore>,
    root_set: RootSet,
    validity: Validity,
    clients: Arc<MeshClient>,
    server: Arc<ServerConfig>,
}

impl WorkloadCertificate {
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    pub fn root_set(&self) -> &RootSet {
        &self.root_set
    }

    /// Verifies again, by these roots, the chain a peer showed when its tunnel began.
    ///
    /// # Errors
    /// When it would not be believed if it dialled, or were dialled, at that time.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        role: &Role,
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        match (role, chain) {
            (Role::Server(expected), chain) => verify_server(chain, &self.roots, expected, at),
            (Role::Client, [leaf, intermediates @ ..]) => self
                .clients
                .verify_client_cert(leaf, intermediates, at)
                .map(drop),
            (Role::Client, []) => Err(rustls::Error::NoCertificatesPresented),
        }
    }

    /// Inbound: the peer must show a certificate of our trust domain.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Outbound: the peer must be exactly `expected`. HBONE sends no server name.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    pub fn client(&self, expected: &SpiffeId) -> Result<Arc<ClientConfig>, rustls::Error> {
        let verifier = Arc::new(ExactServer::new(self.roots.clone(), expected.clone()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn server_config(
    clients: Arc<MeshClient>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
