use tulle_names::{HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};
use tulle_zds::{Refusal, RefusalReason};

use crate::netns::FindError;
use crate::ports::PortError;
use crate::rules::RuleError;

/// Why a pod is not (yet) as it should be: the `reason` and `message` of its
/// entry in MeshNode. Messages say what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Netns(#[from] FindError),
    #[error(
        "no tulle-proxy is connected on this node; see the pods of DaemonSet tulle-system/tulle-proxy"
    )]
    NoProxy,
    #[error(
        "tulle-proxy is not connected: the pod's new connections wait until it is back; see the pods of DaemonSet tulle-system/tulle-proxy"
    )]
    ProxyDown,
    #[error("tulle-proxy has not taken the pod over yet")]
    ProxyBusy,
    #[error("tulle-proxy refused the pod: {0}")]
    ProxyRefused(String),
    #[error("no certificate for the pod: {}", .0.message)]
    CertificateRefused(Refusal),
    #[error(
        "the pod itself listens on port {0}, which the mesh needs ({OUTBOUND_PORT}, {INBOUND_PLAINTEXT_PORT}, {HBONE_PORT}); let it listen on another, or label it mesh.tulle.dev/mode=none"
    )]
    PortInUse(u16),
    #[error(
        "the pod has a user namespace of its own (hostUsers: false), in which its rules cannot tell the proxy's sockets: it cannot be in the mesh; label it mesh.tulle.dev/mode=none if that is meant"
    )]
    UserNamespace,
    #[error("cannot hold the mesh's ports in the pod: {0}")]
    Ports(std::io::Error),
    #[error("{0}")]
    Rules(#[from] RuleError),
    #[error("cannot look at the pod's connections: {0}")]
    Sockets(std::io::Error),
    #[error("MeshNode could not be written: {0}")]
    NotReported(&'static str),
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        match error {
            PortError::InUse(port) => Self::PortInUse(port),
            PortError::Io(cause) => Self::Ports(cause),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.reason {
            RefusalReason::Other => Self::ProxyRefused(refusal.message),
            RefusalReason::NoCertificate | RefusalReason::IdentityRefused => {
                Self::CertificateRefused(refusal)
            }
        }
    }
}

impl Failure {
    /// Whether whoever waits for the pod waits in vain: something else has to change first.
    pub fn is_definite(&self) -> bool {
        matches!(
            self,
            Self::CertificateRefused(refusal) if refusal.reason == RefusalReason::IdentityRefused
        )
    }

    /// One stable CamelCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Netns(_) => "NetnsNotFound",
            Self::NoProxy => "NoProxy",
            Self::ProxyDown => "ProxyDown",
            Self::ProxyBusy => "ProxyBusy",
            Self::ProxyRefused(_) => "ProxyRefused",
            Self::CertificateRefused(_) => "CertificateRefused",
            Self::PortInUse(_) => "PortInUse",
            Self::UserNamespace => "UserNamespace",
            Self::Ports(_) => "PortsNotHeld",
            Self::Rules(_) => "RulesFailed",
            Self::Sockets(_) => "SocketsNotRead",
            Self::NotReported(_) => "NotReported",
        }
    }
}
