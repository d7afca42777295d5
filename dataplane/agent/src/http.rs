use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::{debug, warn};
use tulle_caller_limits::CallerLimits;

use crate::metrics::Metrics;
use crate::report::Board;
use crate::zds::Proxies;

/// Longest a connection may take, its one request and answer included.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages tell.
#[derive(Clone)]
pub struct Pages {
    pub metrics: Metrics,
    pub board: Arc<Board>,
    pub proxies: Arc<Proxies>,
    /// The pods enrolled before are taken over, the sockets listen.
    pub ready: Arc<AtomicBool>,
}

impl Pages {
    /// In the OpenMetrics format.
    ///
    /// # Errors
    /// Why there are none.
    pub fn metrics(&self) -> Result<String, String> {
        self.metrics
            .render(&self.board.status().1, self.proxies.connected())
            .map_err(|error| error.to_string())
    }
}

/// Serves `/healthz` and `/readyz` for ever; `/metrics` to the node itself.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let limits = Arc::new(CallerLimits::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(err = %error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Turned away, the caller's connection is closed at once.
        let local = stream.local_addr().map(|local| local.ip());
        let Some(place) = local.ok().and_then(|local| limits.admit(peer.ip(), local)) else {
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &pages, peer.ip().to_canonical().is_loopback());
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(CONNECTION_LIMIT, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(err = %error, "HTTP connection ended"),
                Err(_) => debug!(%peer, "HTTP connection took too long"),
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, pages: &Pages, is_local: bool) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if pages.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ok\n".to_owned()),
        // Why not is in the log.
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready
"
            .to_owned(),
        ),
        "/metrics" if is_local => match pages.metrics() {
            Ok(metrics) => typed(StatusCode::OK, OPEN_METRICS, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
        },
        "/metrics" => text(
            StatusCode::FORBIDDEN,
            "metrics are served over TLS, on port 15018\n".to_owned(),
        ),
        _ => text(StatusCode::NOT_FOUND, String::new()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
