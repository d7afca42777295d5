//! Asking policy about a connection to a pod.
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::pod::Pod;
use crate::policy::{Action, Connection, Decision, Effect, Policy, evaluate};
use crate::state::{Snapshot, Unreadable, Workload};

/// How long a connection waits for the control plane to tell what it takes to decide.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a connection is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denial {
    #[error("policy {0} denies it")]
    Denied(String),
    #[error("there are allow policies, and none allows it")]
    NotAllowed,
    #[error("the control plane has not told of this pod yet")]
    WorkloadUnknown,
    #[error("the policy {0}, which selects this pod, has not arrived")]
    PolicyUnknown(String),
    #[error("nothing is known of who may connect: {0}")]
    Unreadable(Arc<Unreadable>),
    #[error("policy {policy} refuses all it covers, for this proxy cannot read it: {reason}")]
    PolicyUnreadable { policy: String, reason: String },
}

/// A connection that may go on.
pub struct Admitted {
    /// This pod, as xDS knows it.
    pub workload: Arc<Workload>,
    /// The policy that allowed it, where one did.
    pub policy: Option<String>,
}

/// Decides on a connection to `pod`, at its address `own`. What cannot be decided
/// yet is waited for shortly, and then refused.
///
/// # Errors
/// Why it is refused.
pub async fn authorize(
    pod: &Pod,
    own: IpAddr,
    connection: &Connection,
) -> Result<Admitted, Denial> {
    let mut changes = pod.shared.state.changes();
    let deciding = async {
        loop {
            changes.mark_unchanged();
            match decide(pod, own, connection) {
                Err(Denial::WorkloadUnknown | Denial::PolicyUnknown(_)) => {}
                decided => return decided,
            }
            if changes.changed().await.is_err() {
                return decide(pod, own, connection);
            }
        }
    };
    let decided = tokio::time::timeout(PATIENCE, deciding).await;
    let decided = decided.unwrap_or_else(|_| decide(pod, own, connection));
    if let Err(denial) = &decided {
        count(pod, denial);
    }
    decided
}

/// Whether a connection that was allowed once is denied now. What has not arrived yet denies
/// nothing; what has, and denies, does not wait for the rest.
pub fn denied_now(pod: &Pod, own: IpAddr, connection: &Connection) -> bool {
    let connection = &*still_exempt(pod, own, connection);
    let denial = match policies(pod, own) {
        Ok((_, policies)) => refusal(&policies, connection),
        Err(Denial::WorkloadUnknown | Denial::PolicyUnknown(_)) => {
            let mesh = pod.shared.state.read();
            let workload = workload(&mesh, pod, own).map(AsRef::as_ref);
            refusal(&mesh.denials(&pod.info.namespace, workload), connection)
        }
        Err(denial) => Some(denial),
    };
    if let Some(denial) = &denial {
        count(pod, denial);
    }
    denial.is_some()
}

/// A connection that was let in while the pod was on its way in or out stays exempt meanwhile, and
/// between members until it is ended as what is older than the enrolment; no stranger's does.
fn still_exempt<'a>(pod: &Pod, own: IpAddr, connection: &'a Connection) -> Cow<'a, Connection> {
    if connection.exempt_from.is_empty() {
        return Cow::Borrowed(connection);
    }
    let mesh = pod.shared.state.read();
    let is_over = workload(&mesh, pod, own).is_some_and(|own| own.transition.is_none());
    let peer = mesh.workload_by_ip(&pod.shared.config.network, connection.source_ip);
    if !is_over || peer.is_some_and(|peer| peer.is_member()) {
        return Cow::Borrowed(connection);
    }
    Cow::Owned(Connection {
        exempt_from: vec![],
        ..connection.clone()
    })
}

fn refusal(policies: &[Arc<Policy>], connection: &Connection) -> Option<Denial> {
    let decision = evaluate(policies, connection);
    (decision.effect == Effect::Deny).then(|| denial(policies, decision.policy))
}

fn count(pod: &Pod, denial: &Denial) {
    pod.shared.metrics.denied(match denial {
        Denial::Denied(policy) | Denial::PolicyUnreadable { policy, .. } => Some(policy),
        _ => None,
    });
}

fn decide(pod: &Pod, own: IpAddr, connection: &Connection) -> Result<Admitted, Denial> {
    let (workload, policies) = policies(pod, own)?;
    let Decision {
        effect,
        policy,
        dry_run,
    } = evaluate(&policies, connection);
    if let Some((Effect::Deny, would)) = dry_run {
        pod.shared.metrics.would_deny(would.as_deref());
        tracing::info!(pod = %pod.name(), source = %connection.source_ip,
            identity = connection.source.as_ref().map(tracing::field::display),
            policy = would, "a dry-run policy would deny this connection");
    }
    match (effect, policy) {
        (Effect::Allow, policy) => Ok(Admitted { workload, policy }),
        (Effect::Deny, policy) => Err(denial(&policies, policy)),
    }
}

/// Why it is denied: by the policy named, or because none allows it.
fn denial(policies: &[Arc<Policy>], by: Option<String>) -> Denial {
    let refusing = policies.iter().filter(|policy| match &by {
        Some(name) => policy.name == *name,
        None => policy.action == Action::Allow && !policy.dry_run,
    });
    let unreadable = refusing
        .filter_map(|policy| Some((&policy.name, policy.unreadable.as_ref()?)))
        .next();
    match (unreadable, by) {
        (Some((policy, reason)), _) => Denial::PolicyUnreadable {
            policy: policy.clone(),
            reason: reason.clone(),
        },
        (None, Some(policy)) => Denial::Denied(policy),
        (None, None) => Denial::NotAllowed,
    }
}

/// This pod's workload and its policies.
fn policies(pod: &Pod, own: IpAddr) -> Result<(Arc<Workload>, Vec<Arc<Policy>>), Denial> {
    let (mesh, network) = (pod.shared.state.read(), &pod.shared.config.network);
    if let Some(unreadable) = mesh
        .unreadable(&pod.workload_uid)
        .or_else(|| mesh.unreadable_at(network, own))
    {
        return Err(Denial::Unreadable(unreadable.clone()));
    }
    let workload = workload(&mesh, pod, own).ok_or(Denial::WorkloadUnknown)?;
    let policies = mesh.policies_for(workload).map_err(Denial::PolicyUnknown)?;
    Ok((workload.clone(), policies))
}

/// This pod's workload. One of this name that does not have this address is an earlier pod's, whose
/// policies may be others.
fn workload<'a>(mesh: &'a Snapshot, pod: &Pod, own: IpAddr) -> Option<&'a Arc<Workload>> {
    mesh.workload(&pod.workload_uid)
        .filter(|workload| workload.addresses.contains(&own))
}
