//! What every pod's connections share.
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::identity::manager::CertificateManager;
use crate::state::MeshState;
use crate::telemetry::metrics::Metrics;
use crate::tls::handshakes::Handshakes;
use crate::xds::Synced;

pub struct Shared {
    pub config: Config,
    pub state: Arc<MeshState>,
    pub certificates: CertificateManager,
    pub metrics: Arc<Metrics>,
    /// With any of the pods: who takes part in one has not proved yet who it is.
    pub handshakes: Handshakes,
    pub synced: watch::Receiver<Synced>,
}
