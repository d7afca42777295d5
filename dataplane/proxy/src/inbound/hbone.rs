//! Tunnels that arrive for the pod.
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use super::authorize::{Denial, authorize};
use super::forward::{connect, facts, question};
use super::handshake::{Established, establish};
use crate::connection::{Question, Record, refused, relay};
use crate::identity::vouched::Vouched;
use crate::inpod::socket;
use crate::pod::Pod;
use crate::policy;
use crate::spiffe::SpiffeId;
use crate::telemetry::facts::Facts;
use crate::tunnel::hbone::authority::{AuthorityError, target};
use crate::tunnel::hbone::stream::{H2Sink, H2Source, H2Stream};
use crate::tunnel::hbone::wire::Wire;
use crate::tunnel::hbone::{MAX_STREAMS, headers};

/// A tunnel nobody has used for so long is closed; its peer opens another when it wants one.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// A tunnel whose peer has proved who it is.
struct Tunnel {
    pod: Arc<Pod>,
    peer: SpiffeId,
    from: SocketAddr,
    /// The pod's address the peer dialled.
    own: IpAddr,
    turns: Arc<Semaphore>,
}

/// Streams of one tunnel in work. HTTP/2 counts those the peer has reset no longer, but they may
/// still be connecting here; twice the limit leaves room for those that are just ending.
const MAX_IN_WORK: usize = 2 * MAX_STREAMS as usize;

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
        Ok(established) => {
            let Established {
                connection,
                peer,
                vouched,
                until,
                own,
            } = established;
            let turns = Arc::new(Semaphore::new(MAX_IN_WORK));
            let tunnel = Arc::new(Tunnel {
                pod,
                peer,
                from,
                own,
                turns,
            });
            serve_streams(tunnel, connection, vouched, until).await;
        }
        Err(err) => {
            metrics.handshakes_failed.inc();
            tracing::info!(pod = %pod.name(), %from, %err, "tunnel refused");
        }
    }
}

/// Accepts streams until the peer ends the tunnel, or it is idle, or one of these asks for its end:
///
/// ```text
///  open ── the pod leaves ────────────────▶ GOAWAY, streams on their way are served ──┐
///    ├──── the peer's certificate ends ───▶ GOAWAY, no new stream ────────────────────┤ last stream
///    └──── no root vouches for the peer ──▶ GOAWAY, no new stream                     ├─────────────▶ closed
///                                             └── drain limit: open streams are cut ──┘
/// ```
///
/// A peer that is believed no longer might never answer the GOAWAY: its new streams are refused.
async fn serve_streams(
    tunnel: Arc<Tunnel>,
    mut connection: Connection<TlsStream<Wire>, Bytes>,
    vouched: Vouched,
    until: SystemTime,
) {
    let pod = &tunnel.pod;
    let closing = pod.connections.closing();
    let lifetime = until.duration_since(SystemTime::now()).unwrap_or_default();
    let over = tokio::time::sleep(lifetime);
    let retired = retired(pod, &vouched);
    tokio::pin!(closing, over, retired);
    let (mut ended, mut idle, mut believed) = (false, false, true);
    let mut cut = None;
    loop {
        tokio::select! {
            accepted = timeout(IDLE_LIMIT, connection.accept()) => match accepted {
                Ok(Some(Ok((request, mut respond)))) => match tunnel.turns.clone().try_acquire_owned() {
                    Ok(turn) if believed => {
                        let serving = serve_stream(tunnel.clone(), request, respond);
                        pod.connections.spawn(async move {
                            let _turn = turn;
                            serving.await;
                        });
                    }
                    _ => respond.send_reset(Reason::REFUSED_STREAM),
                },
                Ok(Some(Err(err))) => {
                    tracing::debug!(pod = %pod.name(), from = %tunnel.from, %err, "tunnel ended");
                    return;
                }
                Ok(None) => return,
                // Streams that are open hold the tunnel, however quiet.
                Err(_) if connection.has_streams() => {}
                // The peer was asked to end it, and has not.
                Err(_) if idle || ended || !believed => return,
                Err(_) => {
                    idle = true;
                    connection.graceful_shutdown();
                }
            },
            () = &mut closing, if !ended => {
                ended = true;
                connection.graceful_shutdown();
            }
            () = &mut over, if believed => {
                believed = false;
                connection.graceful_shutdown();
            }
            () = &mut retired, if cut.is_none() => {
                tracing::info!(pod = %pod.name(), from = %tunnel.from, peer = %tunnel.peer,
                    "tunnel retired: no root in force vouches for its peer");
                believed = false;
                cut = Some(Instant::now() + pod.shared.config.drain);
                connection.graceful_shutdown();
            }
            () = passed(cut) => return,
        }
    }
}

/// Resolves when the pod's roots vouch for the peer no longer.
async fn retired(pod: &Pod, vouched: &Vouched) {
    let mut renewals = pod.renewals();
    while vouched.by(&renewals.next().await) {}
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
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
        ..
    } = tunnel;
    if request.method() != Method::CONNECT {
        return Err((None, StreamError::NotConnect));
    }
    let to = target(request.uri().authority(), &[*own]).map_err(|err| (None, err.into()))?;
    let asked = question(Some(peer.clone()), *from, to);
    let mut facts = facts(pod, &asked, *from, to);
    facts.trace = headers::trace_id(request.headers()).map(str::to_owned);
    // Registered before policy is asked, so that none can come in between.
    let mut registered = pod.connections.register(Some(Question {
        own: *own,
        connection: asked.clone(),
    }));
    let reached = tokio::select! {
        reached = reach(tunnel, &asked, to, &mut facts) => reached,
        // The peer has given up waiting; nobody is there to answer.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return Ok(()),
    };
    let mut application = match reached {
        Ok(application) => application,
        Err(err) => return Err((Some(Box::new(facts)), err)),
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
    let mut peer = H2Stream {
        source: H2Source::new(request.into_body()),
        sink: H2Sink::new(sink),
    };
    let ended = registered.ended();
    let outcome = relay(&mut peer, &mut application, &record.traffic, ended).await;
    record.close(outcome.map_err(|err| err.to_string()));
    Ok(())
}

/// Asks policy, then the application.
async fn reach(
    tunnel: &Tunnel,
    asked: &policy::Connection,
    to: SocketAddr,
    facts: &mut Facts,
) -> Result<TcpStream, StreamError> {
    let admitted = authorize(&tunnel.pod, tunnel.own, asked).await?;
    facts.policy = admitted.policy;
    facts.destination_workload = Some(admitted.workload);
    connect(&tunnel.pod, tunnel.from, to)
        .await
        .map_err(StreamError::Application)
}
