//! What the agent answers for probes, and of its metrics to the node itself.
use std::convert::Infallible;
use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Request, StatusCode};
use tokio::net::TcpListener;
use tulle_http_server::{Answer, serve_port};
use tulle_names::AGENT_METRICS_PORT;

use crate::metrics::Metrics;
use crate::report::StatusStore;
use crate::zds::Proxies;

/// What the pages tell.
#[derive(Clone)]
pub struct Pages {
    pub metrics: Metrics,
    pub store: Arc<StatusStore>,
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
            .render(&self.store.status().1, self.proxies.connected())
            .map_err(|error| error.to_string())
    }

    fn answer<B>(&self, request: &Request<B>, from: IpAddr) -> Answer {
        Answer::to_get(request, |path| match path {
            "/healthz" => Some(Answer::text(StatusCode::OK, "ok\n")),
            "/readyz" if self.ready.load(Ordering::Relaxed) => {
                Some(Answer::text(StatusCode::OK, "ok\n"))
            }
            // Why not is in the log.
            "/readyz" => Some(Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")),
            "/metrics" if from.to_canonical().is_loopback() => {
                Some(Answer::metrics(self.metrics()))
            }
            "/metrics" => Some(Answer::text(
                StatusCode::FORBIDDEN,
                format!("metrics are served over TLS, on port {AGENT_METRICS_PORT}\n"),
            )),
            _ => None,
        })
    }
}

/// Serves `/healthz` and `/readyz` for ever; `/metrics` to the node itself.
pub async fn serve(listener: TcpListener, pages: Pages) -> Infallible {
    serve_port(listener, move |request, from| {
        ready(pages.answer(&request, from))
    })
    .await
}
