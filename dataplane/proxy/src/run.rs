//! The proxy as a whole: started, run until told to stop, drained.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tulle_log_writer::DroppedLines;
use tulle_metrics_server::{AskAgent, MetricsServer};

use crate::admin::http::{serve_port, serve_socket};
use crate::admin::status::Overview;
use crate::config::Config;
use crate::identity::ca_client::ControlIssuer;
use crate::identity::manager::CertificateManager;
use crate::rotation::Acknowledged;
use crate::serve::{PodManager, watch_policies};
use crate::shared::Shared;
use crate::state::MeshState;
use crate::telemetry::metrics::Metrics;
use crate::tls::bundle::TrustBundle;
use crate::tls::control::channel;
use crate::tls::handshakes::Handshakes;
use crate::xds::XdsClient;
use crate::zds;

const ADMIN_PORT: u16 = 15000;
const METRICS_PORT: u16 = 15020;
const READINESS_PORT: u16 = 15021;
/// How often series of what is gone are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// Runs the proxy until SIGTERM or SIGINT, and through its drain.
///
/// # Errors
/// When a port or socket of its own cannot be opened.
pub async fn run(config: Config, dropped: &DroppedLines) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let bundle = Arc::new(TrustBundle::new(&config.trust_bundle));
    let metrics = Arc::new(Metrics::new());
    metrics.dropped_lines(dropped);
    let state = Arc::new(MeshState::default());
    // A stream that is always there and calls that come and go: a connection each, so that
    // a burst of one does not hold up the other.
    let issuer = ControlIssuer::new(
        channel(&config.control, bundle.clone()),
        config.token.clone(),
        config.cluster_id.clone(),
    );
    let xds = XdsClient::new(
        channel(&config.control, bundle.clone()),
        &config,
        state.clone(),
        metrics.clone(),
    );
    let shared = Arc::new(Shared {
        certificates: CertificateManager::new(Arc::new(issuer), metrics.clone()),
        synced: xds.synced(),
        handshakes: Handshakes::default(),
        state,
        metrics,
        config,
    });
    let overview = Overview {
        pods: Arc::new(PodManager::new(shared.clone())),
        acknowledged: Arc::new(Acknowledged::new(bundle)),
        draining: Arc::new(AtomicBool::new(false)),
        told: Arc::default(),
        shared: shared.clone(),
    };
    serve_pages(&overview).await?;
    tokio::spawn(xds.run());
    tokio::spawn(forget_what_is_gone(shared.clone()));
    tokio::spawn(overview.acknowledged.clone().follow(shared.clone()));
    tokio::spawn(watch_policies(shared.clone(), overview.pods.clone()));
    let agent = tokio::spawn({
        let (pods, path) = (overview.pods.clone(), shared.config.zds_socket());
        async move { zds::run(&path, &pods).await }
    });
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = shared.config.node_name,
        "started"
    );

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(limit_seconds = shared.config.drain.as_secs(), "draining");
    overview.draining.store(true, Ordering::Release);
    // No pod may come while all are being let go.
    agent.abort();
    let _ = agent.await;
    overview.pods.drain().await;
    remove_socket(&overview);
    Ok(())
}

/// Keeps the metrics to what is there.
async fn forget_what_is_gone(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        shared.metrics.forget_gone(&shared.state.read());
    }
}

async fn serve_pages(overview: &Overview) -> io::Result<()> {
    let all: IpAddr = match std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let pages = overview.clone();
    serve_port(loopback, move |path: &str| pages.admin_page(path)).await?;
    serve_metrics(SocketAddr::new(all, METRICS_PORT), overview.clone()).await?;
    if let Some(port) = overview.shared.config.plaintext_metrics_port {
        let pages = overview.clone();
        serve_port(SocketAddr::new(all, port), move |path: &str| {
            pages.plaintext_metrics_page(path)
        })
        .await?;
    }
    let pages = overview.clone();
    serve_port(SocketAddr::new(all, READINESS_PORT), move |path: &str| {
        pages.readiness_page(path)
    })
    .await?;
    let (pages, orders) = (overview.clone(), overview.clone());
    serve_socket(
        &overview.shared.config.status_socket(),
        move |path: &str| pages.status_page(path),
        move |path: &str, body: &[u8]| orders.end_older(path, body),
    )
}

/// For whom the agent lets read them.
async fn serve_metrics(address: SocketAddr, overview: Overview) -> io::Result<()> {
    let readers = AskAgent::new(&overview.shared.config.run_dir);
    let server = MetricsServer::new("tulle-proxy", readers).map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|err| io::Error::new(err.kind(), format!("opening {address}: {err}")))?;
    tokio::spawn(server.serve(listener, move || overview.metrics()));
    Ok(())
}

fn remove_socket(overview: &Overview) {
    let path = overview.shared.config.status_socket();
    if let Err(err) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %err, "status socket not removed");
    }
}
