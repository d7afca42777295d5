use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::report::Board;
use crate::zds::Proxies;

/// Connections served at a time; kubelet and Prometheus need a few.
const MAX_CONNECTIONS: usize = 64;
/// Of one address: any pod can reach this port, and none may keep kubelet's probes out.
const MAX_CONNECTIONS_OF_PEER: usize = 4;
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

/// Serves `/metrics`, `/healthz` and `/readyz` for ever.
pub async fn serve(listener: TcpListener, pages: Pages) {
    let callers = Arc::new(Callers::default());
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
        let Some(admitted) = Callers::admit(&callers, peer.ip()) else {
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &pages);
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
            drop(admitted);
        });
    }
}

/// Who is connected, by address.
#[derive(Default)]
struct Callers(Mutex<HashMap<IpAddr, usize>>);

/// A caller's place, given back when dropped.
struct Admitted {
    callers: Arc<Callers>,
    peer: IpAddr,
}

impl Callers {
    fn admit(callers: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let mut connected = callers.lock();
        let all: usize = connected.values().sum();
        let of_peer = connected.get(&peer).copied().unwrap_or_default();
        if all >= MAX_CONNECTIONS || of_peer >= MAX_CONNECTIONS_OF_PEER {
            return None;
        }
        connected.insert(peer, of_peer + 1);
        Some(Admitted {
            callers: Arc::clone(callers),
            peer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connected = self.callers.lock();
        match connected.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                connected.remove(&self.peer);
            }
        }
    }
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if pages.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the API server\n".to_owned(),
        ),
        "/metrics" => match pages
            .metrics
            .render(&pages.board.status().1, pages.proxies.connected())
        {
            Ok(metrics) => typed(StatusCode::OK, OPEN_METRICS, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let callers = Arc::new(Callers::default());
        let greedy = IpAddr::from([10, 0, 0, 7]);
        let places: Vec<_> = (0..MAX_CONNECTIONS)
            .filter_map(|_| Callers::admit(&callers, greedy))
            .collect();
        assert_eq!(places.len(), MAX_CONNECTIONS_OF_PEER);
        assert!(Callers::admit(&callers, IpAddr::from([10, 0, 0, 8])).is_some());
        drop(places);
        assert!(callers.lock().is_empty(), "places are given back");
        assert!(Callers::admit(&callers, greedy).is_some());
    }
}
