//! Small HTTP/1 servers, on a port or a unix socket.
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tulle_caller_limits::CallerLimits;

const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// For a whole connection, its answers included.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
/// On the unix socket, which only root of the node can open.
const MAX_CONNECTIONS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An answer: status, media type, text.
pub struct Answer(pub StatusCode, pub &'static str, pub String);

impl Answer {
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self(StatusCode::OK, "application/json", text),
            Err(err) => Self(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                err.to_string(),
            ),
        }
    }

    pub fn text(status: StatusCode, text: &str) -> Self {
        Self(status, "text/plain", text.to_owned())
    }
}

/// Longest body of an order, bytes.
const MAX_ORDER: usize = 4096;

/// Answers a path; none is 404. Only GET is asked of it.
pub trait Pages: Fn(&str) -> Option<Answer> + Send + Sync + 'static {}
impl<F: Fn(&str) -> Option<Answer> + Send + Sync + 'static> Pages for F {}

/// Carries out what is POSTed to a path; none where nothing is to be POSTed.
pub trait Orders: Fn(&str, &[u8]) -> Option<Answer> + Send + Sync + 'static {}
impl<F: Fn(&str, &[u8]) -> Option<Answer> + Send + Sync + 'static> Orders for F {}

fn no_orders(_path: &str, _body: &[u8]) -> Option<Answer> {
    None
}

/// Serves `pages` on `address` for ever. Who is turned away has its connection closed at once: nobody waits for another's.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve_port(address: SocketAddr, pages: impl Pages) -> io::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|err| io::Error::new(err.kind(), format!("opening {address}: {err}")))?;
    let limits = Arc::new(CallerLimits::default());
    let site = Arc::new((pages, no_orders));
    tokio::spawn(async move {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let local = stream.local_addr().map(|local| local.ip());
            if let Some(place) = local.ok().and_then(|local| limits.admit(peer.ip(), local)) {
                serve(stream, &site, place);
            }
        }
    });
    Ok(())
}

/// Serves `pages` and takes `orders` on a unix socket of the owner's only, in place of a dead one of the same name.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve_socket(path: &Path, pages: impl Pages, orders: impl Orders) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let turns = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let site = Arc::new((pages, orders));
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(turn) = turns.clone().acquire_owned().await {
                        serve(stream, &site, turn);
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
    Ok(())
}

/// Serves one connection, which has its `place` until it ends.
fn serve<P: Pages, O: Orders>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: &Arc<(P, O)>,
    place: impl Send + 'static,
) {
    let site = site.clone();
    tokio::spawn(async move {
        let _place = place;
        let service = service_fn(move |request| {
            let site = site.clone();
            async move {
                let (pages, orders) = &*site;
                Ok::<_, Infallible>(answer(pages, orders, request).await)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        // Whether the client stayed to the end is its own affair.
        let _ended = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
    });
}

async fn answer(
    pages: &impl Pages,
    orders: &impl Orders,
    request: Request<Incoming>,
) -> Response<Full<bytes::Bytes>> {
    let path = request.uri().path().to_owned();
    let Answer(status, media, text) = match *request.method() {
        Method::GET => {
            pages(&path).unwrap_or_else(|| Answer::text(StatusCode::NOT_FOUND, "not found\n"))
        }
        Method::POST => match Limited::new(request.into_body(), MAX_ORDER).collect().await {
            Ok(body) => orders(&path, &body.to_bytes()).unwrap_or_else(not_allowed),
            Err(err) => Answer::text(StatusCode::BAD_REQUEST, &format!("{err}\n")),
        },
        _ => not_allowed(),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(media),
    );
    response
}

fn not_allowed() -> Answer {
    Answer::text(StatusCode::METHOD_NOT_ALLOWED, "not allowed here\n")
}
