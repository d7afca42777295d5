//! Peers written by somebody else: one that opens tunnels into a pod, and one that takes them.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode, Version};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::app::limited;
use super::authority::{Credentials, server};
use super::pod::Pod;

/// Opens a tunnel from a pod outside the mesh.
pub async fn tunnel(
    from: &Pod,
    to: &Pod,
    config: Arc<ClientConfig>,
) -> Result<SendRequest<Bytes>, String> {
    let tcp = from
        .connect(to.ip, 15008)
        .await
        .map_err(|err| err.to_string())?;
    let name = ServerName::IpAddress(IpAddr::from(to.ip).into());
    let tls = limited(TlsConnector::from(config).connect(name, tcp))
        .await
        .unwrap()
        .map_err(|err| err.to_string())?;
    let (send, connection) = h2::client::handshake(tls)
        .await
        .map_err(|err| err.to_string())?;
    tokio::spawn(connection);
    // A TLS 1.3 client learns only with the first bytes back whether it was accepted.
    limited(send.ready())
        .await
        .unwrap()
        .map_err(|err| err.to_string())
}

/// Sends a request whose body stays open; answers the status and both directions.
pub async fn open(
    send: &SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(StatusCode, SendStream<Bytes>, RecvStream), String> {
    let mut send = limited(send.clone().ready())
        .await
        .unwrap()
        .map_err(|err| err.to_string())?;
    let (answer, sink) = send
        .send_request(request, false)
        .map_err(|err| err.to_string())?;
    let answer = limited(answer).await.unwrap();
    let (head, body) = answer.map_err(|err| err.to_string())?.into_parts();
    Ok((head.status, sink, body))
}

/// A CONNECT, or whatever else, to a target.
pub fn request(method: Method, target: &str) -> Request<()> {
    let uri = if method == Method::CONNECT {
        target.to_owned()
    } else {
        format!("https://{target}/")
    };
    Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(uri)
        .body(())
        .unwrap()
}

pub async fn ask(
    send: &SendRequest<Bytes>,
    method: Method,
    target: &str,
) -> Result<StatusCode, String> {
    open(send, request(method, target))
        .await
        .map(|(status, ..)| status)
}

/// A CONNECT to a pod's application.
pub async fn ask_for(send: &SendRequest<Bytes>, to: &Pod, port: u16) -> Result<StatusCode, String> {
    let target = SocketAddr::new(to.ip.into(), port).to_string();
    ask(send, Method::CONNECT, &target).await
}

/// A pod that answers tunnels by itself: it greets on each stream, and sends back what comes.
pub struct Server {
    dials: Arc<AtomicUsize>,
    tunnels: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Server {
    pub fn start(pod: &Pod, credentials: &Credentials) -> Self {
        Self::of_tunnels(pod, credentials, usize::MAX)
    }

    /// It says nothing to those who dial when there have been so many.
    pub fn of_tunnels(pod: &Pod, credentials: &Credentials, most: usize) -> Self {
        let listener = pod
            .ns
            .run(|| std::net::TcpListener::bind(("0.0.0.0", 15008)))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(server(credentials));
        let (dials, tunnels) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (dialled, count, name) = (dials.clone(), tunnels.clone(), pod.name.clone());
        let serving = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Ok((tcp, _)) = listener.accept().await {
                if dialled.fetch_add(1, Ordering::SeqCst) >= most {
                    unanswered.push(tcp);
                    continue;
                }
                let (tls, count, name) = (tls.clone(), count.clone(), name.clone());
                tokio::spawn(async move {
                    // The proxy may refuse us.
                    let Ok(stream) = tls.accept(tcp).await else {
                        return;
                    };
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let sink = respond.send_response(Response::new(()), false).unwrap();
                        tokio::spawn(echo(name.clone(), request.into_body(), sink));
                    }
                });
            }
        });
        Self {
            dials,
            tunnels,
            serving,
        }
    }

    /// How many connections there have been.
    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    /// How many tunnels there have been.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::SeqCst)
    }
}

async fn echo(name: String, mut source: RecvStream, mut sink: SendStream<Bytes>) {
    let _gone = sink.send_data(format!("{name}\n").into(), false);
    while let Some(Ok(piece)) = source.data().await {
        let _gone = sink.send_data(piece, false);
    }
    let _gone = sink.send_data(Bytes::new(), true);
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
