//! A node with an agent of its own.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tulle_agent::agent::{Parts, serve};
use tulle_agent::cluster::{Cluster, MeshView, PodView};
use tulle_agent::cni::Installer;
use tulle_agent::sockets::Policy;
use tulle_log_writer::DroppedLines;

use super::cluster::FakeCluster;
use super::{OUTSIDE_IP, PodNet, echo_server};

pub const UID: &str = "3f0c2a6e-6b1a-4a39-9d52-0a4d1c1e8f11";

/// The pod of the node's proxies, which are in this process.
const PROXY_UID: &str = "7a1d3c55-0d0f-4c39-8f5f-2f3c6b0a9e02";

pub struct TestNode {
    root: tempfile::TempDir,
    pub cluster: Arc<FakeCluster>,
    /// A runtime of its own: when it goes, everything the agent ran goes, as with its process.
    agent: Option<tokio::runtime::Runtime>,
    pub released: watch::Receiver<bool>,
}

pub fn mesh(grace: Duration) -> MeshView {
    MeshView {
        existing_connections: Policy::End { grace },
        drain: Duration::from_secs(10),
    }
}

pub fn pod() -> PodView {
    PodView {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "cart".into(),
        service_account: "cart".into(),
        ips: PodNet::ips(),
        ..PodView::default()
    }
}

/// The echo server outside.
pub fn server() -> String {
    format!("{OUTSIDE_IP}:7000")
}

/// A node with a running pod that echoes on 8000, and an echo server outside on 7000.
pub async fn running_pod(mesh: MeshView) -> (TestNode, PodNet) {
    let net = PodNet::new();
    echo_server(&net.outside(), "0.0.0.0:7000").await;
    echo_server(&net.pod(), "0.0.0.0:8000").await;
    let node = TestNode::start(mesh).await;
    node.run_process(4242, UID, &net);
    node.cluster.put_pod(pod());
    (node, net)
}

impl TestNode {
    pub async fn start(mesh: MeshView) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["proc", "run/proxies", "bin", "conf"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("tulle-cni"), "binary").unwrap();
        std::fs::write(
            root.path().join("conf/10-bridge.conflist"),
            r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"}]}"#,
        )
        .unwrap();
        let cluster = FakeCluster::new(mesh);
        cluster.label("shop", None);
        cluster.put_pod(PodView {
            uid: PROXY_UID.into(),
            namespace: "tulle-system".into(),
            name: "tulle-proxy".into(),
            ..PodView::default()
        });
        let proxy = root.path().join(format!("proc/{}", std::process::id()));
        std::fs::create_dir_all(proxy.join("fd")).unwrap();
        std::fs::write(
            proxy.join("cgroup"),
            format!("0::/kubepods/pod{PROXY_UID}/c1\n"),
        )
        .unwrap();
        let (agent, released) = start_agent(root.path().to_owned(), &cluster).await;
        Self {
            root,
            cluster,
            agent: Some(agent),
            released,
        }
    }

    /// Kills the agent, if it runs, and starts another.
    pub async fn restart(&mut self) {
        self.stop();
        let (agent, released) = start_agent(self.root.path().to_owned(), &self.cluster).await;
        (self.agent, self.released) = (Some(agent), released);
    }

    /// Kills the agent.
    pub fn stop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.shutdown_background();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn zds(&self) -> PathBuf {
        self.path("run").join(tulle_zds::SOCKET_NAME)
    }

    /// Where the process table shows the descriptors of the node's proxies.
    pub fn descriptors(&self) -> PathBuf {
        self.path(&format!("proc/{}/fd", std::process::id()))
    }

    /// Puts a process of the pod into the process table.
    pub fn run_process(&self, pid: i32, uid: &str, net: &PodNet) {
        self.run_process_in(pid, uid, &net.pod_path());
    }

    /// The same in the network namespace at a path.
    pub fn run_process_in(&self, pid: i32, uid: &str, namespace: &Path) {
        let directory = self.path("proc").join(pid.to_string());
        std::fs::create_dir_all(directory.join("ns")).unwrap();
        std::fs::write(
            directory.join("cgroup"),
            format!("0::/kubepods/burstable/pod{uid}/c1\n"),
        )
        .unwrap();
        std::os::unix::fs::symlink(namespace, directory.join("ns/net")).unwrap();
    }

    pub fn end_process(&self, pid: i32) {
        std::fs::remove_dir_all(self.path("proc").join(pid.to_string())).unwrap();
    }

    pub fn state(&self) -> Option<(String, bool)> {
        self.cluster
            .stored_pod(UID)
            .map(|pod| (format!("{:?}/{}", pod.state, pod.reason), pod.captured))
    }

    pub fn is(&self, state: &str, captured: bool) -> bool {
        self.state() == Some((state.to_owned(), captured))
    }
}

fn loopback() -> TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// An agent's parts, with all its files below `root`.
pub fn parts(
    root: &Path,
    cluster: Arc<dyn Cluster>,
    http: TcpListener,
    released: watch::Sender<bool>,
) -> Parts {
    Parts {
        cluster,
        version: "test".into(),
        run_dir: root.join("run"),
        proc: root.join("proc"),
        installer: Installer {
            source: root.join("tulle-cni"),
            bin_dir: root.join("bin"),
            conf_dir: root.join("conf"),
            run_dir: "/run/tulle".into(),
            verified: Arc::default(),
        },
        http,
        dropped_lines: DroppedLines::default(),
        metrics: loopback(),
        released,
    }
}

async fn start_agent(
    root: PathBuf,
    cluster: &Arc<FakeCluster>,
) -> (tokio::runtime::Runtime, watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (released, is_released) = watch::channel(false);
    let http = runtime
        .spawn(TcpListener::bind("127.0.0.1:0"))
        .await
        .unwrap()
        .unwrap();
    let cluster = Arc::clone(cluster) as Arc<dyn Cluster>;
    runtime.spawn(serve(parts(&root, cluster, http, released)));
    (runtime, is_released)
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop();
    }
}
