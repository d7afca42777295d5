//! What a proxy asks its agent: `POST /` on a unix socket, the token in the header of the caller, who called
//! in `x-forwarded-for`. The answer is a status: 200, 401, 403, or 503.
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tulle_http_server::{Answer, listen_unix, serve_unix};

use crate::access::{Access, Authorize};

/// The agent's socket, in the run directory.
pub const SOCKET_NAME: &str = "metrics-access.sock";

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Longer than the API server may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

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
    let listener = listen_unix(&run_dir.join(SOCKET_NAME))?;
    let served = serve_unix(listener, move |request| {
        let authorize = authorize.clone();
        async move { answer(&request, authorize.as_ref()).await }
    });
    Ok(served.await)
}

async fn answer(request: &Request<Incoming>, authorize: &impl Authorize) -> Answer {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let from = header(FORWARDED_FOR).and_then(|from| from.parse().ok());
    let status = match (header(http::header::AUTHORIZATION.as_str()), from) {
        (Some(token), Some(from)) => authorize.authorize(token, from).await.status(),
        _ => StatusCode::BAD_REQUEST,
    };
    Answer::text(status, "")
}
