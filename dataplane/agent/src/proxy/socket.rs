use std::io::ErrorKind::{ConnectionRefused, NotFound};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tulle_proxy_status::SOCKET_SUFFIX;

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

/// A proxy that was asked, and what it answered.
pub struct Answered<A> {
    /// The name of its socket, which is its pod's.
    pub name: String,
    /// Its process, as this one numbers it; `None` where it cannot be told.
    pub pid: Option<i32>,
    /// None: not in time, or not in the form expected.
    pub answer: Option<A>,
}

impl Question {
    /// Asks every proxy that serves in `directory`, connected to the agent or not: one that drains
    /// has left the agent and still carries connections. Only proxies can put sockets there.
    /// Sockets nobody serves any more are left out.
    pub async fn ask<A: DeserializeOwned>(&self, directory: &Path) -> Vec<Answered<A>> {
        let asked = sockets(directory).into_iter().map(|(name, path)| async {
            let mut answered = Answered {
                name,
                pid: None,
                answer: None,
            };
            let is_there = self.ask_one(path, &mut answered);
            // Too late is an answer too: it is there.
            let is_there = timeout(LIMIT, is_there).await.unwrap_or(true);
            is_there.then_some(answered)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether somebody serves the socket.
    async fn ask_one<A: DeserializeOwned>(&self, path: PathBuf, into: &mut Answered<A>) -> bool {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) => return !matches!(error.kind(), ConnectionRefused | NotFound),
        };
        into.pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        into.answer = self.converse(stream).await;
        true
    }

    async fn converse<A: DeserializeOwned>(&self, stream: UnixStream) -> Option<A> {
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
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may be over before what came by it is read.
            _ = &mut connection => answer.await,
        }
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

fn sockets(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let socket = |entry: std::fs::DirEntry| {
        let name = entry
            .file_name()
            .to_str()?
            .strip_suffix(SOCKET_SUFFIX)?
            .to_owned();
        Some((name, entry.path()))
    };
    entries.filter_map(socket).collect()
}
