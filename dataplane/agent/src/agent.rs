//! The agent as a whole: every part started, in the order that keeps captured pods captured.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};
use tulle_cni_protocol::SOCKET_NAME;
use tulle_log_writer::DroppedLines;
use tulle_metrics_server::MetricsServer;
use tulle_names::AGENT_NAME;

use crate::cluster::{Cluster, View};
use crate::cni::{self, Answers, Installer};
use crate::enrol::{Enroller, Node};
use crate::http::{self, Pages};
use crate::jitter::jittered;
use crate::metrics::Metrics;
use crate::metrics_access::MetricsAccess;
use crate::netns::Finder;
use crate::node_setup::NodeSetup;
use crate::ports::Ports;
use crate::proxy::ProxyObservations;
use crate::report::{self, MeshNodeStatus, StatusStore};
use crate::rules::{NodeAddresses, RuleInstaller};
use crate::zds::{self, Proxies};

/// Between two attempts to reach the API server at the start.
const RETRY: Duration = Duration::from_secs(2);

/// What the agent needs to run.
pub struct Parts {
    pub cluster: Arc<dyn Cluster>,
    pub version: String,
    pub run_dir: PathBuf,
    /// The node's process table.
    pub proc: PathBuf,
    pub installer: Installer,
    /// Where probes are served.
    pub http: TcpListener,
    /// Of the log, for the metrics.
    pub dropped_lines: DroppedLines,
    /// Where metrics are served, over TLS.
    pub metrics: TcpListener,
    /// Set once everything of ours is off the node, after the Mesh is gone.
    pub released: watch::Sender<bool>,
}

/// Serves until something cannot go on.
pub async fn serve(parts: Parts) -> anyhow::Result<()> {
    let Parts {
        cluster,
        version,
        run_dir,
        proc,
        installer,
        http,
        dropped_lines,
        metrics,
        released,
    } = parts;
    prepare_run_dir(&run_dir).context("preparing the run directory")?;
    let owner =
        tulle_socket_owner::obtain(&run_dir).context("what the proxy's sockets are known by")?;
    let store = Arc::new(StatusStore::new(&version));
    let proxies = Arc::new(Proxies::default());
    let ready = Arc::new(AtomicBool::new(false));
    let finder = Finder::new(&proc).context("looking at the node's processes")?;
    let node = Arc::new(Node {
        proxies: Arc::clone(&proxies),
        observations: ProxyObservations::new(run_dir.join(tulle_proxy_status::DIRECTORY)),
        store: Arc::clone(&store),
        addresses: NodeAddresses::new(RuleInstaller),
        ports: Ports::new(finder.clone(), cluster.view()),
        finder,
        rule_installer: RuleInstaller,
        owner,
        view: cluster.view(),
        metrics: Metrics::new(&dropped_lines),
    });
    let enroller = Enroller::new(Arc::clone(&node));
    let readers = Arc::new(MetricsAccess::new(Arc::clone(&cluster)));
    let server = MetricsServer::new(AGENT_NAME, Arc::clone(&readers))
        .context("preparing to serve metrics")?;
    let pages = Pages {
        metrics: node.metrics.clone(),
        store: Arc::clone(&store),
        proxies: Arc::clone(&proxies),
        ready: Arc::clone(&ready),
    };

    let prepare = async {
        info!("not ready: waiting for the API server");
        store.resume(stored_status(cluster.as_ref()).await);
        // Nothing listens before the pods enrolled earlier are known: a proxy that
        // connects is told of all of them at once, and drops what it is not told of.
        cluster.view().wait_for(View::is_synced).await?;
        enroller
            .adopt()
            .await
            .context("taking over the pods enrolled before")?;
        if let Err(error) = node.addresses.open().await {
            warn!(err = %error, "cannot write the node's table; it is tried again with the next pod");
        }
        ready.store(true, Ordering::Relaxed);
        info!("ready");
        anyhow::Ok(())
    };
    let page = pages.clone();
    let metrics = server.serve(metrics, move || page.metrics());
    let pages = http::serve(http, pages);
    tokio::pin!(pages);
    tokio::select! {
        prepared = prepare => prepared?,
        never = &mut pages => match never {},
    }

    let (zds_path, cni_path) = (
        run_dir.join(tulle_zds::SOCKET_NAME),
        run_dir.join(SOCKET_NAME),
    );
    let node_setup = NodeSetup {
        node: Arc::clone(&node),
        enroller: Arc::clone(&enroller),
        installer,
        run_dir: run_dir.clone(),
        released,
    };
    let answers = Arc::new(Answers {
        cluster: Arc::clone(&cluster),
        enroller: Arc::clone(&enroller),
        node: Arc::clone(&node),
    });
    tokio::select! {
        never = &mut pages => match never {},
        never = metrics => match never {},
        served = tulle_metrics_server::serve_proxies(&run_dir, readers) => {
            served.map(drop).context("telling proxies who may read metrics")
        }
        served = zds::serve(&zds_path, Arc::clone(&proxies)) => served.context("serving proxies"),
        served = cni::serve(&cni_path, answers) => served.context("serving the CNI plugin"),
        () = report::write(cluster, Arc::clone(&store)) => Ok(()),
        () = report::watch_proxies(run_dir.join(tulle_proxy_status::DIRECTORY), proxies, store, &node.observations) => Ok(()),
        () = Arc::clone(&enroller).follow() => Ok(()),
        () = node_setup.follow() => Ok(()),
    }
}

/// Only root has business with the node's sockets.
fn prepare_run_dir(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path.join(tulle_proxy_status::DIRECTORY))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// What the agent before this one reported; waits for the API server.
async fn stored_status(cluster: &dyn Cluster) -> MeshNodeStatus {
    loop {
        match cluster.stored_status().await {
            Ok(status) => return status.unwrap_or_default(),
            Err(error) => warn!(err = %error, "cannot read what was reported before"),
        }
        tokio::time::sleep(jittered(RETRY)).await;
    }
}
