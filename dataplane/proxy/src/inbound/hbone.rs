//! Tunnels that arrive for the pod.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authorize::{Denial, authorize};
use super::forward::{carry, connect, facts, question};
use crate::hbone::authority::{AuthorityError, target};
use crate::hbone::stream::{H2Sink, H2Source};
use crate::hbone::{
    CONNECTION_WINDOW, MAX_FRAME, MAX_HEADERS, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, headers,
};
use crate::identity::certificate::Validity;
use crate::identity::spiffe::SpiffeId;
use crate::inpod::{original, socket};
use crate::pod::Pod;
use crate::telemetry::connection::{Facts, Record, refused};
use crate::tls::ALPN_H2;
use crate::tls::peer::spiffe_id;
use crate::tls::verifier::explain;

/// For TLS, and again for HTTP/2's preface: who sends a byte at a time is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A tunnel nobody has used for so long is closed; its peer opens another when it wants one.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// A tunnel whose peer has proved who it is.
struct Tunnel {
    pod: Arc<Pod>,
    peer: SpiffeId,
    from: SocketAddr,
    /// The pod's address the peer dialled.
    own: IpAddr,
}

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("not a CONNECT")]
    NotConnect,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error("connecting to the application: {0}")]
    Application(io::Error),
}

impl StreamError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotConnect | Self::Authority(_) => StatusCode::BAD_REQUEST,
            Self::Denied(_) => StatusCode::UNAUTHORIZED,
            Self::Application(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Takes a connection to 15008 through its handshakes, then serves its streams.
pub async fn serve(pod: Arc<Pod>, tcp: TcpStream, from: SocketAddr) {
    let metrics = pod.shared.metrics.clone();
    match establish(&pod, tcp, from).await {
        Ok((tunnel, connection, until)) => serve_streams(Arc::new(tunnel), connection, until).await,
        Err(err) => {
            metrics.handshakes_failed.inc();
            tracing::info!(pod = %pod.name(), %from, %err, "tunnel refused");
        }
    }
}

type H2Connection = Connection<TlsStream<TcpStream>, Bytes>;

async fn establish(
    pod: &Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
) -> io::Result<(Tunnel, H2Connection, SystemTime)> {
    let _turn = pod.handshakes.acquire().await.map_err(io::Error::other)?;
    let own = original::canonical(tcp.local_addr()?).ip();
    let certificate = pod
        .certificate()
        .ok_or_else(|| io::Error::other("this pod has no certificate that is in force"))?;
    socket::notice_dead_peer(&tcp)?;
    let accepting = TlsAcceptor::from(certificate.server()).accept(tcp);
    let tls = timeout(HANDSHAKE_LIMIT, accepting)
        .await
        .map_err(|_| too_slow("TLS"))?
        .map_err(explain)?;

    let (_, session) = tls.get_ref();
    if session.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the peer did not agree to h2"));
    }
    let leaf = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
    let peer = spiffe_id(leaf).map_err(io::Error::other)?;
    let until = Validity::of(leaf).map_err(io::Error::other)?.not_after;

    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(tls);
    let connection = timeout(HANDSHAKE_LIMIT, handshake)
        .await
        .map_err(|_| too_slow("HTTP/2"))?
        .map_err(io::Error::other)?;
    Ok((
        Tunnel {
            pod: pod.clone(),
            peer,
            from,
            own,
        },
        connection,
        until,
    ))
}

fn too_slow(layer: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the peer's {layer} handshake took too long"),
    )
}

/// Accepts streams until the peer ends the tunnel, or it is idle, or the pod leaves, or the
/// peer's certificate ends. In the latter cases open streams go on; new ones need a new tunnel.
async fn serve_streams(tunnel: Arc<Tunnel>, mut connection: H2Connection, until: SystemTime) {
    let lifetime = until.duration_since(SystemTime::now()).unwrap_or_default();
    let ending = async {
        tokio::select! {
            () = tunnel.pod.connections.closing() => {}
            () = tokio::time::sleep(lifetime) => {}
        }
    };
    tokio::pin!(ending);
    let mut ended = false;
    loop {
        tokio::select! {
            accepted = timeout(IDLE_LIMIT, connection.accept()) => match accepted {
                Ok(Some(Ok((request, respond)))) => {
                    let serving = serve_stream(tunnel.clone(), request, respond);
                    tunnel.pod.connections.spawn(serving);
                }
                Ok(Some(Err(err))) => {
                    tracing::debug!(pod = %tunnel.pod.name(), from = %tunnel.from, %err, "tunnel ended");
                    return;
                }
                Ok(None) => return,
                // Streams that are open hold the tunnel, however quiet.
                Err(_) if !connection.has_streams() => connection.graceful_shutdown(),
                Err(_) => {}
            },
            () = &mut ending, if !ended => {
                ended = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn serve_stream(
    tunnel: Arc<Tunnel>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let Err((facts, err)) = admit(&tunnel, request, &mut respond).await else {
        return;
    };
    // Fails only when the peer has gone, and then nobody waits for the answer.
    let answered = Response::builder().status(err.status()).body(());
    if answered
        .map(|answer| respond.send_response(answer, true))
        .is_err()
    {
        respond.send_reset(Reason::INTERNAL_ERROR);
    }
    match facts {
        Some(facts) => refused(tunnel.pod.shared.config.access_log, &facts, err.to_string()),
        None => {
            let Tunnel {
                pod, peer, from, ..
            } = &*tunnel;
            tracing::info!(pod = %pod.name(), %from, %peer, %err, "request refused");
        }
    }
}

type Refusal = (Option<Box<Facts>>, StreamError);

/// Checks a request, connects to the application, and carries until the end.
async fn admit(
    tunnel: &Tunnel,
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Refusal> {
    let Tunnel {
        pod,
        peer,
        from,
        own,
    } = tunnel;
    if request.method() != Method::CONNECT {
        return Err((None, StreamError::NotConnect));
    }
    let to = target(request.uri().authority(), &[*own]).map_err(|err| (None, err.into()))?;
    let asked = question(Some(peer.clone()), *from, to);
    let mut facts = facts(pod, &asked, *from, to);
    facts.trace = headers::trace_id(request.headers()).map(str::to_owned);
    // Watched before it is asked, so that no policy can come in between.
    let watched = pod.live.watch(*own, asked.clone());
    let admitted = match authorize(pod, *own, &asked).await {
        Ok(admitted) => admitted,
        Err(denial) => return Err((Some(Box::new(facts)), denial.into())),
    };
    facts.policy = admitted.policy;
    facts.destination_workload = Some(admitted.workload);
    let application = match connect(pod, *from, to).await {
        Ok(application) => application,
        Err(err) => return Err((Some(Box::new(facts)), StreamError::Application(err))),
    };
    let record = Record::open(&pod.shared.metrics, pod.shared.config.access_log, facts);
    let sink = match respond.send_response(Response::new(()), false) {
        Ok(sink) => sink,
        Err(err) => {
            socket::reset_on_close(&application);
            record.close(Err(format!("the peer has gone: {err}")));
            return Ok(());
        }
    };
    let (mut source, mut sink) = (H2Source::new(request.into_body()), H2Sink(sink));
    let outcome = carry(application, (&mut source, &mut sink), &record, &watched).await;
    record.close(outcome);
    Ok(())
}
