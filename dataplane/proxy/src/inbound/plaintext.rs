//! Plaintext that arrives for the pod: from outside the mesh, where policy lets it.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tulle_names::is_own_port;

use super::authorize::authorize;
use super::forward::{connect, facts, question};
use crate::connection::{Question, Record, refused, relay};
use crate::inpod::{original, socket};
use crate::pod::Pod;
use crate::policy::Connection;
use crate::telemetry::facts::Facts;

/// Takes a connection redirected to 15006 to the application, if policy allows one without an identity.
pub async fn serve(pod: Arc<Pod>, mut client: TcpStream, from: SocketAddr) {
    let to = match original::destination(&client) {
        Ok(to) if !is_own_port(to.port()) => to,
        Ok(to) => {
            tracing::debug!(pod = %pod.name(), %from, %to, "plaintext to the proxy's own port refused");
            return socket::reset_on_close(&client);
        }
        Err(err) => {
            tracing::debug!(pod = %pod.name(), %from, %err, "plaintext refused");
            return socket::reset_on_close(&client);
        }
    };
    if let Err(refusal) = forward(&pod, &mut client, from, to).await {
        socket::reset_on_close(&client);
        refused(pod.shared.config.access_log, &refusal.facts, refusal.reason);
    }
}

struct Refusal {
    facts: Facts,
    reason: String,
}

async fn forward(
    pod: &Pod,
    client: &mut TcpStream,
    from: SocketAddr,
    to: SocketAddr,
) -> Result<(), Box<Refusal>> {
    let asked = Connection {
        exempt_from: exempt(pod, from.ip(), to.ip()),
        ..question(None, from, to)
    };
    let mut facts = facts(pod, &asked, from, to);
    // Registered before policy is asked, so that none can come in between.
    let mut registered = pod.connections.register(Some(Question {
        own: to.ip(),
        connection: asked.clone(),
    }));
    let admitted = match authorize(pod, to.ip(), &asked).await {
        Ok(admitted) => admitted,
        Err(denial) => {
            return Err(Box::new(Refusal {
                facts,
                reason: denial.to_string(),
            }));
        }
    };
    facts.policy = admitted.policy;
    facts.destination_workload = Some(admitted.workload);
    let mut application = match connect(pod, from, to).await {
        Ok(application) => application,
        Err(err) => {
            let reason = format!("connecting to the application: {err}");
            return Err(Box::new(Refusal { facts, reason }));
        }
    };
    let record = Record::open(&pod.shared.metrics, pod.shared.config.access_log, facts);
    registered.in_plaintext(from, &record.traffic);
    let ended = registered.ended();
    let outcome = relay(client, &mut application, &record.traffic, ended).await;
    record.close(outcome.map_err(|err| err.to_string()));
    Ok(())
}

/// The policies that do not apply to plaintext from `from` while the pod is on its way into the mesh
/// or out of it: peers may not have been told yet.
fn exempt(pod: &Pod, from: IpAddr, own: IpAddr) -> Vec<String> {
    let (mesh, network) = (pod.shared.state.read(), &pod.shared.config.network);
    let is_member = || {
        mesh.workload_by_ip(network, from)
            .is_some_and(|peer| peer.is_member())
    };
    mesh.workload_by_ip(network, own)
        .filter(|own| own.uid == pod.workload_uid)
        .and_then(|own| own.transition.as_ref())
        .filter(|transition| transition.leaving || is_member())
        .map_or_else(Vec::new, |transition| transition.exempt_policies.clone())
}
