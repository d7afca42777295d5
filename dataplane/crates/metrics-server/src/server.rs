use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tulle_caller_limits::CallerLimits;

use crate::access::{Access, Authorize};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// For a whole connection, its one request and answer included.
const CONNECTION_LIMIT: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A token of a service account is 1 to 8 kB.
const MAX_HEADERS: usize = 16 * 1024;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

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
    limits: Arc<CallerLimits>,
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
            limits: Arc::default(),
        })
    }

    /// Serves for ever. `page` gives the metrics, in the OpenMetrics format, or why there are none.
    pub async fn serve<P>(self, listener: TcpListener, page: P)
    where
        P: Fn() -> Result<String, String> + Send + Sync + 'static,
    {
        let page = Arc::new(page);
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Turned away, the caller's connection is closed at once.
            let local = stream.local_addr().map(|local| local.ip());
            let place = local
                .ok()
                .and_then(|local| self.limits.admit(peer.ip(), local));
            let Some(place) = place else { continue };
            let (tls, authorize, page) = (self.tls.clone(), self.authorize.clone(), page.clone());
            tokio::spawn(async move {
                let _place = place;
                let served = one(tls, stream, |request| {
                    answer(request, peer.ip(), authorize.clone(), page.clone())
                });
                // Whether the client stayed to the end is its own affair.
                let _ended = tokio::time::timeout(CONNECTION_LIMIT, served).await;
            });
        }
    }
}

async fn one<F>(
    tls: TlsAcceptor,
    stream: TcpStream,
    respond: impl Fn(Request<Incoming>) -> F,
) -> io::Result<()>
where
    F: Future<Output = Response<Full<Bytes>>>,
{
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await??;
    let service = service_fn(|request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

async fn answer<A: Authorize, P: Fn() -> Result<String, String>>(
    request: Request<Incoming>,
    from: std::net::IpAddr,
    authorize: Arc<A>,
    page: Arc<P>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET\n".to_owned(),
        );
    }
    if request.uri().path() != "/metrics" {
        return response(StatusCode::NOT_FOUND, TEXT, "here is /metrics\n".to_owned());
    }
    let access = match token(&request) {
        Some(token) => authorize.authorize(token, from.to_canonical()).await,
        None => Access::Unauthenticated,
    };
    if access != Access::Allowed {
        return response(access.status(), TEXT, access.explanation().to_owned());
    }
    match page() {
        Ok(text) => response(StatusCode::OK, OPEN_METRICS, text),
        Err(err) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, err),
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

fn response(status: StatusCode, media: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(media),
    );
    response
}
