//! One connection an application makes, from the redirect to its end.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::connection::{Broken, Record, refused, relay};
use crate::inpod::{original, socket};
use crate::lock::lock;
use crate::pod::Pod;
use crate::route::{Origin, Refusal, Route, Way, resolve};
use crate::state::Workload;
use crate::telemetry::facts::Facts;
use crate::telemetry::labels::Reporter;
use crate::tunnel::hbone::Hbone;
use crate::tunnel::{Connect, Trace, TunnelError, TunnelStream};

#[derive(Debug, thiserror::Error)]
enum OutboundError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this pod has no certificate that is in force")]
    NoCertificate,
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, io::Error),
}

/// Where the connection's bytes go.
enum Upstream {
    Plain(TcpStream, SocketAddr),
    Tunnel(TunnelStream<Hbone>),
}

/// Takes a connection redirected to 15001 where it was going.
pub async fn serve(pod: Arc<Pod>, mut client: TcpStream, from: SocketAddr) {
    let to = match original::destination(&client) {
        Ok(to) => to,
        Err(err) => {
            tracing::debug!(pod = %pod.name(), %from, %err, "outbound connection refused");
            return socket::reset_on_close(&client);
        }
    };
    let (route, source) = find(&pod, to);
    let trace = Trace::new();
    let facts = facts(&pod, from, to, &route, source.clone(), &trace);
    let log = pod.shared.config.access_log;
    match connect(&pod, &route, source.as_deref(), from, &trace).await {
        Err(err) => {
            socket::reset_on_close(&client);
            refused(log, &facts, err.to_string());
        }
        Ok(upstream) => {
            let record = Record::open(&pod.shared.metrics, log, facts);
            let outcome = carry(&pod, &mut client, upstream, &record).await;
            record.close(outcome.map_err(|err| err.to_string()));
        }
    }
}

fn find(pod: &Pod, to: SocketAddr) -> (Route, Option<Arc<Workload>>) {
    let mesh = pod.shared.state.read();
    let source = mesh.workload(&pod.workload_uid).cloned();
    let network = &pod.shared.config.network;
    let now = Instant::now();
    // Held over both: of two connections at once the second goes where the first does.
    let mut affinity = lock(&pod.affinity);
    let origin = Origin {
        workload: source.as_deref(),
        network,
        affinity: &affinity,
        now,
        chance: fastrand::f64(),
    };
    let route = resolve(&mesh, &origin, to);
    affinity.note(&route, to.port(), now);
    (route, source)
}

fn facts(
    pod: &Pod,
    from: SocketAddr,
    to: SocketAddr,
    route: &Route,
    source_workload: Option<Arc<Workload>>,
    trace: &Trace,
) -> Facts {
    let peer = match &route.way {
        Way::Tunnel { peer, .. } => Some(peer),
        _ => None,
    };
    let reached = match &route.way {
        Way::Plaintext(address) => *address,
        _ => to,
    };
    let mesh = pod.shared.state.read();
    Facts {
        reporter: Reporter::Source,
        source: from,
        source_workload,
        source_node: None,
        source_identity: peer.map(|_| pod.identity().clone()),
        destination: to,
        upstream: match &route.way {
            Way::Tunnel { peer, .. } => Some(peer.address),
            Way::Plaintext(address) => Some(*address),
            Way::Refused(_) => None,
        },
        destination_workload: route.workload.clone(),
        destination_node: mesh
            .node_by_ip(&pod.shared.config.network, reached.ip())
            .map(str::to_owned),
        destination_identity: peer.map(|peer| peer.identity.clone()),
        service: route.service.clone(),
        hbone: peer.is_some(),
        policy: None,
        trace: peer.map(|_| trace.id()),
    }
}

async fn connect(
    pod: &Pod,
    route: &Route,
    source: Option<&Workload>,
    from: SocketAddr,
    trace: &Trace,
) -> Result<Upstream, OutboundError> {
    match &route.way {
        Way::Refused(refusal) => Err(refusal.clone().into()),
        Way::Plaintext(to) => {
            let stream = socket::connect(&pod.netns, *to).await;
            stream
                .map(|stream| Upstream::Plain(stream, *to))
                .map_err(|err| OutboundError::Connect(*to, err))
        }
        Way::Tunnel { peer, target } => {
            let certificate = pod.certificate().ok_or(OutboundError::NoCertificate)?;
            let connection = Connect {
                target: *target,
                workload: source,
                source_ip: from.ip(),
                trace,
            };
            let stream = pod.tunnels.connect(&certificate, peer, &connection).await?;
            Ok(Upstream::Tunnel(stream))
        }
    }
}

async fn carry(
    pod: &Pod,
    client: &mut TcpStream,
    upstream: Upstream,
    record: &Record,
) -> Result<(), Broken> {
    let mut registered = pod.connections.register(None);
    let traffic = &record.traffic;
    match upstream {
        Upstream::Tunnel(mut tunnel) => {
            relay(client, &mut tunnel, traffic, registered.ended()).await
        }
        Upstream::Plain(mut stream, to) => {
            registered.in_plaintext(to, traffic);
            relay(client, &mut stream, traffic, registered.ended()).await
        }
    }
}
