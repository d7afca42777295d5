//! Asking the control plane to sign.
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tulle_wire::ca::IstioCertificateRequest;
use tulle_wire::ca::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::spiffe::SpiffeId;

/// What the lifetime asked for is; the authority's own setting is the upper limit. Seconds.
const VALIDITY_SECONDS: i64 = 86_400;

/// Why nothing was signed. The texts hold no token.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("reading the token {path}: {source}")]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the token {path} is not a header's value")]
    TokenCharacters { path: PathBuf },
    #[error("the cluster id is not a header's value")]
    ClusterId(#[from] InvalidMetadataValue),
    #[error("the certificate authority answered {code:?}: {message}")]
    Refused { code: tonic::Code, message: String },
}

impl IssueError {
    /// Whether asking again for the same identity changes nothing.
    pub fn is_definite(&self) -> bool {
        use tonic::Code::{InvalidArgument, PermissionDenied};
        matches!(
            self,
            Self::Refused {
                code: PermissionDenied | InvalidArgument,
                ..
            }
        )
    }
}

pub type Issuing<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, IssueError>> + Send + 'a>>;

/// Something that signs requests for identities.
pub trait Issuer: Send + Sync + 'static {
    /// Answers leaf, intermediates, and last the roots, PEM each, for the request `csr` (PEM).
    fn issue<'a>(&'a self, identity: &'a SpiffeId, csr: &'a str) -> Issuing<'a>;
}

/// The bearer header of a projected token. The file is read for every call: the kubelet replaces it.
///
/// # Errors
/// When the file cannot be read or is no header's value.
pub async fn bearer(path: &PathBuf) -> Result<MetadataValue<Ascii>, IssueError> {
    let token = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| IssueError::Token {
            path: path.clone(),
            source,
        })?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|_| IssueError::TokenCharacters { path: path.clone() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The control plane's certificate service.
pub struct ControlIssuer {
    channel: Channel,
    token: PathBuf,
    cluster_id: String,
}

impl ControlIssuer {
    pub fn new(channel: Channel, token: PathBuf, cluster_id: String) -> Self {
        Self {
            channel,
            token,
            cluster_id,
        }
    }

    async fn call(&self, identity: &SpiffeId, csr: &str) -> Result<Vec<String>, IssueError> {
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr.to_owned(),
            validity_duration: VALIDITY_SECONDS,
            metadata: Some(impersonating(identity)),
        });
        request
            .metadata_mut()
            .insert("authorization", bearer(&self.token).await?);
        request
            .metadata_mut()
            .insert("clusterid", self.cluster_id.parse()?);
        let answer = IstioCertificateServiceClient::new(self.channel.clone())
            .create_certificate(request)
            .await
            .map_err(|status| IssueError::Refused {
                code: status.code(),
                message: describe(&status),
            })?;
        Ok(answer.into_inner().cert_chain)
    }
}

impl Issuer for ControlIssuer {
    fn issue<'a>(&'a self, identity: &'a SpiffeId, csr: &'a str) -> Issuing<'a> {
        Box::pin(self.call(identity, csr))
    }
}

fn impersonating(identity: &SpiffeId) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(identity.to_string())),
    };
    Struct {
        fields: BTreeMap::from([("ImpersonatedIdentity".to_owned(), value)]),
    }
}

/// A status' message and what caused it: "transport error" alone helps nobody.
pub fn describe(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(err) = cause {
        let next = err.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = err.source();
    }
    text
}
