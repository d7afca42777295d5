use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::board::Board;
use super::status::ProxyStatus;
use crate::zds::Proxies;

const EVERY: Duration = Duration::from_secs(2);
/// Longest a proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(1);
/// Longest answer, bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// What a proxy answers, as far as MeshNode tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    version: String,
    ready: bool,
    trust_bundle_sha256: Option<String>,
}

impl From<Answer> for ProxyStatus {
    fn from(answer: Answer) -> Self {
        Self {
            version: answer.version,
            ready: answer.ready,
            trust_bundle_sha256: answer.trust_bundle_sha256.unwrap_or_default(),
        }
    }
}

/// Keeps the board's word on the newest connected proxy: which version, ready
/// or not, which trust bundle. Proxies serve `/status` in `directory`.
pub async fn watch_proxies(directory: PathBuf, proxies: Arc<Proxies>, board: Arc<Board>) {
    let mut changed = proxies.watch();
    loop {
        changed.mark_unchanged();
        let connected = proxies.connected();
        let newest = match proxies.newest_pid() {
            Some(pid) if connected > 0 => status_of(&directory, pid).await,
            _ => None,
        };
        board.set_proxy(newest);
        let pause = tokio::time::sleep(EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = changed.changed() => if proxies.connected() != connected { break },
            }
        }
    }
}

/// The status of the proxy whose process is `pid`; the other proxies' sockets
/// in the directory are older ones' or left over.
async fn status_of(directory: &Path, pid: i32) -> Option<ProxyStatus> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "sock")
            && let Ok(Some(status)) = timeout(LIMIT, ask(&path, pid)).await
        {
            return Some(status);
        }
    }
    None
}

async fn ask(socket: &Path, pid: i32) -> Option<ProxyStatus> {
    let stream = UnixStream::connect(socket).await.ok()?;
    if stream.peer_cred().ok()?.pid() != Some(pid) {
        return None;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::get("/status")
        .header("host", "tulle-proxy")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .ok()?;
        let answer: Answer = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some(ProxyStatus::from(answer))
    }
    .await;
    driver.abort();
    answer
}
