//! What every pod's connections share.
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::identity::manager::CertificateManager;
use crate::state::MeshState;
use crate::telemetry::metrics::Metrics;
use crate::xds::Synced;

pub struct Shared {
    pub config: Config,
    pub state: Arc<MeshState>,
    pub certificates: CertificateManager,
    pub metrics: Arc<Metrics>,
    pub synced: watch::Receiver<Synced>,
}
