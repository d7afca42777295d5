//! Starts the agent: reads its environment, takes over what an agent before
//! it left, then serves until it is told to stop. It leaves everything as it is.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;
use tulle_agent::cluster::{Cluster, KubeCluster};
use tulle_agent::cni::{self, Answers, Installer};
use tulle_agent::enrol::{Enroller, Node};
use tulle_agent::http::{self, Pages};
use tulle_agent::metrics::Metrics;
use tulle_agent::netns::Finder;
use tulle_agent::presence::Presence;
use tulle_agent::report::{self, Board, MeshNodeStatus};
use tulle_agent::rules::{NodeAddresses, Ruler};
use tulle_agent::settings::Settings;
use tulle_agent::zds::{self, Proxies};
use tulle_cni_protocol::{DEFAULT_RUN_DIR, SOCKET_NAME};

const HTTP_PORT: u16 = 15019;
/// Between two attempts to reach the API server at the start.
const RETRY: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(
            EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (released, is_released) = watch::channel(false);
    let outcome = tokio::select! {
        outcome = run(&settings, released) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if *is_released.borrow() {
        remove_sockets(&settings);
    }
    match &outcome {
        Ok(()) => info!("told to stop; everything stays as it is"),
        Err(error) => error!(err = format!("{error:#}"), "cannot go on"),
    }
    outcome
}

async fn run(settings: &Settings, released: watch::Sender<bool>) -> anyhow::Result<()> {
    info!(
        node = settings.node,
        version = settings.version,
        "tulle-agent starts"
    );
    let cluster = KubeCluster::new(
        kube::Client::try_default()
            .await
            .context("configuring the API server")?,
        &settings.node,
    );
    let board = Arc::new(Board::new(&settings.version, stored_status(&cluster).await));
    let proxies = Arc::new(Proxies::default());
    let node = Arc::new(Node {
        proxies: Arc::clone(&proxies),
        board: Arc::clone(&board),
        addresses: NodeAddresses::new(Ruler),
        finder: Finder::new(&settings.proc).context("looking at the node's processes")?,
        ruler: Ruler,
        view: cluster.view(),
        metrics: Metrics::default(),
    });
    let enroller = Enroller::new(Arc::clone(&node));
    let ready = Arc::new(AtomicBool::new(false));
    let pages = Pages {
        metrics: node.metrics.clone(),
        board: Arc::clone(&board),
        proxies: Arc::clone(&proxies),
        ready: Arc::clone(&ready),
    };
    let listener = TcpListener::bind(("0.0.0.0", HTTP_PORT))
        .await
        .context("listening for HTTP")?;
    tokio::spawn(http::serve(listener, pages));
    tokio::spawn(Arc::clone(&cluster).watch());

    // Nothing listens before the pods enrolled earlier are known: a proxy that
    // connects is told of all of them at once, and drops what it is not told of.
    cluster
        .view()
        .wait_for(tulle_agent::cluster::View::is_synced)
        .await?;
    enroller
        .adopt()
        .await
        .context("taking over the pods enrolled before")?;
    if let Err(error) = node.addresses.open().await {
        warn!(err = %error, "cannot write the node's table; it is tried again with the next pod");
    }
    let cluster: Arc<dyn Cluster> = cluster;
    tokio::spawn(report::write(Arc::clone(&cluster), Arc::clone(&board)));
    tokio::spawn(report::watch_proxies(
        settings.run_dir.join("proxies"),
        Arc::clone(&proxies),
        board,
    ));
    tokio::spawn(Arc::clone(&enroller).follow());
    let presence = Presence {
        node: Arc::clone(&node),
        enroller: Arc::clone(&enroller),
        installer: installer(settings)?,
        run_dir: settings.run_dir.clone(),
        released,
    };
    let answers = Arc::new(Answers {
        cluster,
        enroller,
        node,
    });
    let (zds_path, cni_path) = (
        settings.run_dir.join("zds.sock"),
        settings.run_dir.join(SOCKET_NAME),
    );
    ready.store(true, Ordering::Relaxed);
    tokio::select! {
        served = zds::serve(&zds_path, proxies) => served.context("serving proxies"),
        served = cni::serve(&cni_path, answers) => served.context("serving the CNI plugin"),
        () = presence.follow() => Ok(()),
    }
}

/// What the agent before this one reported; waits for the API server.
async fn stored_status(cluster: &KubeCluster) -> MeshNodeStatus {
    loop {
        match cluster.stored_status().await {
            Ok(status) => return status.unwrap_or_default(),
            Err(error) => warn!(err = %error, "cannot read what was reported before"),
        }
        tokio::time::sleep(report::jittered(RETRY)).await;
    }
}

fn installer(settings: &Settings) -> anyhow::Result<Installer> {
    let own = std::env::current_exe().context("finding the agent's own binary")?;
    Ok(Installer {
        source: own.with_file_name(tulle_cni_protocol::PLUGIN_TYPE),
        bin_dir: settings.cni_bin_dir.clone(),
        conf_dir: settings.cni_conf_dir.clone(),
        // The plugin runs on the node itself, where the directory has its own name.
        run_dir: DEFAULT_RUN_DIR.to_owned(),
    })
}

/// The last files of ours, when nobody is to use them again.
fn remove_sockets(settings: &Settings) {
    let paths: [PathBuf; 2] = [
        settings.run_dir.join("zds.sock"),
        settings.run_dir.join(SOCKET_NAME),
    ];
    for path in paths {
        if let Err(error) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), err = %error, "cannot remove a socket");
        }
    }
}
