//! What a proxy asks its agent: `POST /` on a unix socket, the token in the header of the caller, who called
//! in `x-forwarded-for`. The answer is a status: 200, 401, 403, or 503.
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::access::{Access, Authorize};

/// The agent's socket, in the run directory.
pub const SOCKET_NAME: &str = "metrics-access.sock";

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Longer than the API server may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_HEADERS: usize = 16 * 1024;
const MAX_CONNECTIONS: usize = 16;

/// Asks the agent.
pub struct AskAgent {
    socket: PathBuf,
}

impl AskAgent {
    /// The agent serves in `run_dir`.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            socket: run_dir.join(SOCKET_NAME),
        }
    }

    async fn ask(&self, token: &str, from: IpAddr) -> io::Result<StatusCode> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let question = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(http::header::HOST, "agent")
            .header(http::header::AUTHORIZATION, token)
            .header(FORWARDED_FOR, from.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        // It ends with the one answer, or when its sender is dropped.
        tokio::spawn(connection);
        let answer = sender.send_request(question).await;
        Ok(answer.map_err(io::Error::other)?.status())
    }
}

impl Authorize for AskAgent {
    async fn authorize(&self, token: &str, from: IpAddr) -> Access {
        match tokio::time::timeout(ANSWER_LIMIT, self.ask(token, from)).await {
            Ok(Ok(status)) => Access::of(status),
            Ok(Err(err)) => {
                tracing::warn!(%err, "the agent cannot be asked who may read metrics");
                Access::Unknown
            }
            Err(_) => Access::Unknown,
        }
    }
}

/// Answers the node's proxies, for ever.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve_proxies(
    run_dir: &Path,
    authorize: Arc<impl Authorize>,
) -> io::Result<Infallible> {
    let path = run_dir.join(SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let turns = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return Err(io::Error::other("the semaphore is closed"));
        };
        let authorize = authorize.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let service = service_fn(|request| {
                let authorize = authorize.clone();
                async move { Ok::<_, Infallible>(answer(&request, authorize.as_ref()).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(MAX_HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            let _ended = tokio::time::timeout(ANSWER_LIMIT, served).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, authorize: &impl Authorize) -> Response<Empty<Bytes>> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let from = header(FORWARDED_FOR).and_then(|from| from.parse().ok());
    let status = match (header(http::header::AUTHORIZATION.as_str()), from) {
        (Some(token), Some(from)) => authorize.authorize(token, from).await.status(),
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}
