//! Asking policy about a connection to a pod.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::pod::Pod;
use crate::policy::{Connection, Decision, Policy, Verdict, evaluate};
use crate::state::Workload;

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
        pod.shared.metrics.denied(match denial {
            Denial::Denied(policy) => Some(policy),
            _ => None,
        });
    }
    decided
}

fn decide(pod: &Pod, own: IpAddr, connection: &Connection) -> Result<Admitted, Denial> {
    let (workload, policies) = policies(pod, own)?;
    let Decision {
        verdict,
        policy,
        dry_run,
    } = evaluate(&policies, connection);
    if let Some((Verdict::Deny, would)) = dry_run {
        pod.shared.metrics.would_deny(would.as_deref());
        tracing::info!(pod = %pod.name(), source = %connection.source_ip,
            identity = connection.source.as_ref().map(tracing::field::display),
            policy = would, "a dry-run policy would deny this connection");
    }
    match (verdict, policy) {
        (Verdict::Allow, policy) => Ok(Admitted { workload, policy }),
        (Verdict::Deny, Some(policy)) => Err(Denial::Denied(policy)),
        (Verdict::Deny, None) => Err(Denial::NotAllowed),
    }
}

/// This pod's workload and its policies. A workload of this name that does not have
/// this address is an earlier pod's, whose policies may be others.
pub fn policies(pod: &Pod, own: IpAddr) -> Result<(Arc<Workload>, Vec<Arc<Policy>>), Denial> {
    let mesh = pod.shared.state.read();
    let workload = mesh
        .workload(&pod.workload_uid)
        .filter(|workload| workload.addresses.contains(&own))
        .ok_or(Denial::WorkloadUnknown)?;
    let policies = mesh.policies_for(workload).map_err(Denial::PolicyUnknown)?;
    Ok((workload.clone(), policies))
}
