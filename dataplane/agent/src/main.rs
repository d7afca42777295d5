//! Starts the agent from its environment and serves until it is told to stop.
//! It leaves everything as it is, and another agent takes over from there; once the Mesh is gone, it leaves nothing.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use tulle_agent::agent::{Parts, serve};
use tulle_agent::cleanup::RunDirectory;
use tulle_agent::cluster::KubeCluster;
use tulle_agent::cni::Installer;
use tulle_agent::settings::Settings;
use tulle_cni_protocol::PLUGIN_TYPE;
use tulle_http_server::{any_address, listen};
use tulle_log_writer::Logging;
use tulle_names::{AGENT_HTTP_PORT, AGENT_METRICS_PORT, RUN_DIRECTORY};

/// How long proxies are waited for at the end; the DaemonSet gives the agent longer to stop.
const FAREWELL: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    let logging = tulle_log_writer::start(log_filter(&settings.log)).context("starting to log")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (released, is_released) = watch::channel(false);
    let outcome = tokio::select! {
        outcome = run(&settings, &logging, released) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if outcome.is_ok() && *is_released.borrow() {
        info!("told to stop after the Mesh is gone; removing the last files");
        let run_directory = RunDirectory {
            path: settings.run_dir,
            on_host: settings.host_run_dir,
        };
        run_directory.remove(FAREWELL).await;
        return Ok(());
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

async fn run(
    settings: &Settings,
    logging: &Logging,
    released: watch::Sender<bool>,
) -> anyhow::Result<()> {
    info!(
        node = settings.node,
        version = settings.version,
        "tulle-agent starts"
    );
    let client = kube::Client::try_default()
        .await
        .context("configuring the API server")?;
    let cluster = KubeCluster::new(client, &settings.node);
    let http = listen(SocketAddr::new(any_address(), AGENT_HTTP_PORT))
        .await
        .context("listening for HTTP")?;
    let metrics = listen(SocketAddr::new(any_address(), AGENT_METRICS_PORT))
        .await
        .context("listening for scrapers")?;
    let parts = Parts {
        cluster: Arc::<KubeCluster>::clone(&cluster),
        version: settings.version.clone(),
        run_dir: settings.run_dir.clone(),
        proc: settings.proc.clone(),
        installer: installer(settings)?,
        http,
        dropped_lines: logging.dropped(),
        metrics,
        released,
    };
    tokio::select! {
        served = serve(parts) => served,
        () = cluster.watch() => Ok(()),
    }
}

fn installer(settings: &Settings) -> anyhow::Result<Installer> {
    let own = std::env::current_exe().context("finding the agent's own binary")?;
    Ok(Installer {
        source: own.with_file_name(PLUGIN_TYPE),
        bin_dir: settings.cni_bin_dir.clone(),
        conf_dir: settings.cni_conf_dir.clone(),
        // The plugin runs on the node itself, where the directory has its own name.
        run_dir: RUN_DIRECTORY.to_owned(),
        verified: Arc::default(),
    })
}
