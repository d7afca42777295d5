//! The gRPC channel to the control plane.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::bundle::TrustBundle;
use super::{ALPN_H2, provider};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MIB: u32 = 1024 * 1024;

/// A channel that connects when first used and again after each failure. Every
/// connection reads the trust bundle anew, so a rotated root needs no restart.
pub fn channel(control: &Uri, bundle: Arc<TrustBundle>) -> Channel {
    let connector = tower::service_fn(move |uri: Uri| {
        let bundle = bundle.clone();
        async move { connect(&uri, &bundle).await.map(TokioIo::new) }
    });
    Endpoint::from(control.clone())
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(CONNECT_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 * MIB)
        .initial_connection_window_size(8 * MIB)
        .connect_with_connector_lazy(connector)
}

async fn connect(uri: &Uri, bundle: &TrustBundle) -> io::Result<TlsStream<TcpStream>> {
    let host = uri
        .host()
        .ok_or_else(|| io::Error::other("the control address has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(443);
    let roots = bundle.reload().map_err(io::Error::other)?.roots.clone();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;

    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    tokio::time::timeout(CONNECT_LIMIT, tls)
        .await
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "TLS handshake with the control plane",
            )
        })?
}
