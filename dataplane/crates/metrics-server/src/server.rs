use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tulle_http_server::{Answer, accept, serve_connection};

use crate::access::{Access, Authorize};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("making the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("configuring TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Serves metrics over TLS, with a certificate that it has signed itself: scrapers do not verify it.
pub struct MetricsServer<A> {
    tls: TlsAcceptor,
    authorize: Arc<A>,
}

impl<A: Authorize> MetricsServer<A> {
    /// # Errors
    /// When there is no key or certificate to be had.
    pub fn new(name: &str, authorize: A) -> Result<Self, Error> {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key.into())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            authorize: Arc::new(authorize),
        })
    }

    /// Serves for ever. `page` gives the metrics, in the OpenMetrics format, or why there are none.
    pub async fn serve<P>(self, listener: TcpListener, page: P) -> Infallible
    where
        P: Fn() -> Result<String, String> + Send + Sync + 'static,
    {
        let page = Arc::new(page);
        accept(listener, |stream, from| {
            let (tls, authorize, page) = (self.tls.clone(), self.authorize.clone(), page.clone());
            async move {
                let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream));
                // Whether the client stayed to the end is its own affair.
                if let Ok(Ok(stream)) = handshake.await {
                    let answer = |request| answer(request, from, authorize.as_ref(), page.as_ref());
                    serve_connection(stream, answer).await;
                }
            }
        })
        .await
    }
}

async fn answer<A: Authorize>(
    request: Request<Incoming>,
    from: IpAddr,
    authorize: &A,
    page: &(impl Fn() -> Result<String, String> + Sync),
) -> Answer {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        return Answer::to_get(&request, |_| None);
    }
    let access = match token(&request) {
        Some(token) => authorize.authorize(token, from.to_canonical()).await,
        None => Access::Unauthenticated,
    };
    match access {
        Access::Allowed => Answer::metrics(page()),
        refused => Answer::text(refused.status(), refused.explanation()),
    }
}

/// The bearer token; none where there is none, or there are several.
fn token(request: &Request<Incoming>) -> Option<&str> {
    let mut headers = request
        .headers()
        .get_all(http::header::AUTHORIZATION)
        .iter();
    let header = headers.next()?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    let is_one = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
    (headers.next().is_none() && is_one).then_some(token)
}
