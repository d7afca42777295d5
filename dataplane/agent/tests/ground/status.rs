//! A proxy's status page that says what a test wants, and notes what is ordered.
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tulle_proxy_status::END_EXISTING_PATH;

use super::cluster::FakeCluster;

#[derive(Clone)]
pub struct Status(Arc<Mutex<Said>>);

struct Said {
    cluster: Arc<FakeCluster>,
    served: Vec<String>,
    /// None: what is captured is announced, at once.
    announced: Option<bool>,
    /// None: it says nothing of that, as an older proxy.
    enrolling: Option<bool>,
    draining: bool,
    carried: usize,
    /// How often it was asked for its status.
    asked: usize,
    orders: Vec<serde_json::Value>,
    /// Whether quiet ones are ended as ordered.
    quiet: bool,
}

impl Status {
    pub fn new(cluster: &Arc<FakeCluster>) -> Self {
        Self(Arc::new(Mutex::new(Said {
            cluster: Arc::clone(cluster),
            served: Vec::new(),
            announced: None,
            enrolling: None,
            draining: false,
            carried: 0,
            asked: 0,
            orders: Vec::new(),
            quiet: false,
        })))
    }

    /// Answers on a socket in `directory` until the task is aborted.
    pub fn serve(&self, directory: &Path) -> tokio::task::JoinHandle<()> {
        static SOCKETS: AtomicUsize = AtomicUsize::new(0);
        let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let listener = UnixListener::bind(directory.join(format!("proxy-{number}.sock"))).unwrap();
        let answering = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) && stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
                let body = answering.answer(&String::from_utf8(request).unwrap());
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
    }

    fn answer(&self, request: &str) -> String {
        let mut said = self.0.lock().unwrap();
        if !request.starts_with(&format!("POST {END_EXISTING_PATH} ")) {
            said.asked += 1;
            let workloads: Vec<_> = said
                .served
                .iter()
                .map(|uid| {
                    let is_captured =
                        || said.cluster.stored_pod(uid).is_some_and(|pod| pod.captured);
                    serde_json::json!({
                        "uid": uid,
                        "announced": said.announced.unwrap_or_else(is_captured),
                        "enrolling": said.enrolling,
                        "existingConnections": said.carried,
                    })
                })
                .collect();
            return serde_json::json!({
                "version": "test", "ready": true, "trustBundleSha256": null,
                "draining": said.draining, "workloads": workloads,
            })
            .to_string();
        }
        let body = request.split_once("\r\n\r\n").unwrap().1;
        let order: serde_json::Value = serde_json::from_str(body).unwrap();
        let by_force = order["quietMilliseconds"].is_null();
        said.orders.push(order);
        let ended = if by_force || said.quiet {
            std::mem::take(&mut said.carried)
        } else {
            0
        };
        serde_json::json!({ "ended": ended }).to_string()
    }

    pub fn serves(&self, uid: &str) {
        self.0.lock().unwrap().served.push(uid.to_owned());
    }

    pub fn lets_go(&self, uid: &str) {
        self.0.lock().unwrap().served.retain(|served| served != uid);
    }

    /// Whether the control plane tells peers to tunnel to the pods, whatever is captured.
    pub fn announces(&self, announced: bool) {
        self.0.lock().unwrap().announced = Some(announced);
    }

    /// Whether the control plane tells everybody that the pods are being enrolled.
    pub fn enrols(&self, enrolling: bool) {
        self.0.lock().unwrap().enrolling = Some(enrolling);
    }

    pub fn drains(&self) {
        self.0.lock().unwrap().draining = true;
    }

    pub fn carries(&self, count: usize) {
        self.0.lock().unwrap().carried = count;
    }

    pub fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    pub fn carried(&self) -> usize {
        self.0.lock().unwrap().carried
    }

    pub fn ends_quiet_ones(&self) {
        self.0.lock().unwrap().quiet = true;
    }

    pub fn orders(&self) -> Vec<serde_json::Value> {
        self.0.lock().unwrap().orders.clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}
