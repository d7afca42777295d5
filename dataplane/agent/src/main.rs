//! Starts the agent from its environment and serves until it is told to stop.
//! It leaves everything as it is: another agent takes over from there.
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;
use tulle_agent::agent::{PROXIES, Parts, ZDS_SOCKET, serve};
use tulle_agent::cluster::KubeCluster;
use tulle_agent::cni::Installer;
use tulle_agent::settings::Settings;
use tulle_cni_protocol::{DEFAULT_RUN_DIR, PLUGIN_TYPE, SOCKET_NAME};

const HTTP_PORT: u16 = 15019;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(log_filter(&settings.log))
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

/// The client logs each failed request as it happens; they are told once, where they are handled.
fn log_filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(format!("{level},kube_client=off"))
        .unwrap_or_else(|_| EnvFilter::new("info"))
}

async fn run(settings: &Settings, released: watch::Sender<bool>) -> anyhow::Result<()> {
    info!(
        node = settings.node,
        version = settings.version,
        "tulle-agent starts"
    );
    let client = kube::Client::try_default()
        .await
        .context("configuring the API server")?;
    let cluster = KubeCluster::new(client, &settings.node);
    let http = listen().await.context("listening for HTTP")?;
    let parts = Parts {
        cluster: Arc::<KubeCluster>::clone(&cluster),
        version: settings.version.clone(),
        run_dir: settings.run_dir.clone(),
        proc: settings.proc.clone(),
        installer: installer(settings)?,
        http,
        released,
    };
    tokio::select! {
        served = serve(parts) => served,
        () = cluster.watch() => Ok(()),
    }
}

/// Both families, where the node has IPv6.
async fn listen() -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, HTTP_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP_PORT)).await,
    }
}

fn installer(settings: &Settings) -> anyhow::Result<Installer> {
    let own = std::env::current_exe().context("finding the agent's own binary")?;
    Ok(Installer {
        source: own.with_file_name(PLUGIN_TYPE),
        bin_dir: settings.cni_bin_dir.clone(),
        conf_dir: settings.cni_conf_dir.clone(),
        // The plugin runs on the node itself, where the directory has its own name.
        run_dir: DEFAULT_RUN_DIR.to_owned(),
        verified: Arc::default(),
    })
}

/// The last files of ours, when nobody is to use them again. The directory of
/// proxies' sockets stays where one of theirs is still in it.
fn remove_sockets(settings: &Settings) {
    for path in [
        settings.run_dir.join(ZDS_SOCKET),
        settings.run_dir.join(SOCKET_NAME),
    ] {
        if let Err(error) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), err = %error, "cannot remove a socket");
        }
    }
    if let Err(error) = std::fs::remove_dir(settings.run_dir.join(PROXIES)) {
        debug!(err = %error, "the directory of proxies' sockets stays");
    }
}
