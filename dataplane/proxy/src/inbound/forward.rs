//! From an admitted connection to the application.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::inpod::socket;
use crate::pod::Pod;
use crate::policy::Connection;
use crate::spiffe::SpiffeId;
use crate::state::Workload;
use crate::telemetry::facts::Facts;
use crate::telemetry::labels::Reporter;

/// What policy is asked about a connection from `from` to `to`.
pub fn question(source: Option<SpiffeId>, from: SocketAddr, to: SocketAddr) -> Connection {
    Connection {
        source,
        source_ip: from.ip(),
        destination_ip: to.ip(),
        destination_port: to.port(),
        exempt_from: vec![],
    }
}

/// What is told of an inbound connection. A peer's workload is believed to be the one at its
/// address only when it also has the identity the peer proved.
pub fn facts(pod: &Pod, asked: &Connection, from: SocketAddr, to: SocketAddr) -> Facts {
    let mesh = pod.shared.state.read();
    let own = mesh.workload(&pod.workload_uid).cloned();
    let source_workload = mesh
        .workload_by_ip(&pod.shared.config.network, from.ip())
        .filter(|peer| {
            asked
                .source
                .as_ref()
                .is_none_or(|source| source == &peer.identity)
        })
        .cloned();
    let service = own
        .as_ref()
        .and_then(|own| only_service(own, to.port()))
        .and_then(|name| mesh.service(name))
        .cloned();
    Facts {
        reporter: Reporter::Destination,
        source: from,
        source_workload,
        source_node: mesh
            .node_by_ip(&pod.shared.config.network, from.ip())
            .map(str::to_owned),
        hbone: asked.source.is_some(),
        destination_identity: asked.source.as_ref().map(|_| pod.identity().clone()),
        source_identity: asked.source.clone(),
        destination: to,
        upstream: None,
        destination_workload: own,
        destination_node: None,
        service,
        policy: None,
        trace: None,
    }
}

/// The service a port belongs to, where only one does: which of several was dialled cannot be seen here.
fn only_service(own: &Arc<Workload>, port: u16) -> Option<&crate::state::ServiceName> {
    let mut of_port = own
        .services
        .iter()
        .filter(|(_, ports)| ports.values().any(|target| *target == port));
    match (of_port.next(), of_port.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}

/// Connects to the application with the peer's address as source.
///
/// # Errors
/// When the application does not listen, or does not answer in time.
pub async fn connect(pod: &Pod, from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    socket::connect_from(&pod.netns, from.ip(), to).await
}
