use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest a proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(1);
/// Longest answer, bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// What is asked of proxies.
pub enum Question {
    Get(&'static str),
    /// A path and a body, JSON.
    Post(&'static str, String),
}

impl Question {
    /// Asks those of the proxies serving in `directory` whose processes are `pids`; other sockets
    /// there are left over. Who does not answer, in time and in the form expected, is left out.
    pub async fn ask<A: DeserializeOwned>(&self, directory: &Path, pids: &[i32]) -> Vec<(i32, A)> {
        let mut answers = Vec::new();
        for socket in sockets(directory) {
            if let Ok(Some(answer)) = timeout(LIMIT, self.ask_one(&socket, pids)).await {
                answers.push(answer);
            }
        }
        answers
    }

    async fn ask_one<A: DeserializeOwned>(&self, socket: &Path, pids: &[i32]) -> Option<(i32, A)> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let pid = stream.peer_cred().ok()?.pid()?;
        if !pids.contains(&pid) {
            return None;
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let answer = async {
            let response = sender.send_request(self.request()?).await.ok()?;
            if !response.status().is_success() {
                return None;
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        };
        tokio::pin!(answer, connection);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            // The connection may be over before what came by it is read.
            _ = &mut connection => answer.await,
        };
        Some((pid, answer?))
    }

    fn request(&self) -> Option<Request<Full<Bytes>>> {
        let (request, body) = match self {
            Self::Get(path) => (Request::get(*path), Bytes::new()),
            Self::Post(path, body) => (Request::post(*path), Bytes::from(body.clone())),
        };
        request
            .header("host", "tulle-proxy")
            .body(Full::new(body))
            .ok()
    }
}

fn sockets(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "sock")
        })
        .collect()
}
