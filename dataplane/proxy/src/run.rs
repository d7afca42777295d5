//! The proxy as a whole: started, run until told to stop, drained.
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tulle_http_server::{Answer, any_address, listen, listen_unix, serve_port, serve_unix};
use tulle_log_writer::DroppedLines;
use tulle_metrics_server::{AskAgent, MetricsServer};
use tulle_names::{PROXY_ADMIN_PORT, PROXY_METRICS_PORT, PROXY_NAME, PROXY_READY_PORT};

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
    let on_all = |port| SocketAddr::new(any_address(), port);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_ADMIN_PORT));
    serve(admin, overview, Overview::admin_page).await?;
    serve_metrics(on_all(PROXY_METRICS_PORT), overview.clone()).await?;
    if let Some(port) = overview.shared.config.plaintext_metrics_port {
        serve(on_all(port), overview, Overview::plaintext_metrics_page).await?;
    }
    serve(on_all(PROXY_READY_PORT), overview, Overview::readiness_page).await?;
    let socket = listen_unix(&overview.shared.config.status_socket())?;
    let overview = overview.clone();
    tokio::spawn(serve_unix(socket, move |request| {
        let overview = overview.clone();
        async move { overview.to_agent(request).await }
    }));
    Ok(())
}

/// Serves pages to whoever reaches the address.
async fn serve(
    address: SocketAddr,
    overview: &Overview,
    page: fn(&Overview, &str) -> Option<Answer>,
) -> io::Result<()> {
    let (listener, overview) = (listen(address).await?, overview.clone());
    tokio::spawn(serve_port(listener, move |request, _| {
        ready(Answer::to_get(&request, |path| page(&overview, path)))
    }));
    Ok(())
}

/// For whom the agent lets read them.
async fn serve_metrics(address: SocketAddr, overview: Overview) -> io::Result<()> {
    let readers = AskAgent::new(&overview.shared.config.run_dir);
    let server = MetricsServer::new(PROXY_NAME, readers).map_err(io::Error::other)?;
    let listener = listen(address).await?;
    tokio::spawn(server.serve(listener, move || overview.metrics()));
    Ok(())
}

fn remove_socket(overview: &Overview) {
    let path = overview.shared.config.status_socket();
    if let Err(err) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %err, "status socket not removed");
    }
}
