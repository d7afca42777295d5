//! Delta ADS (Envoy's xDS protocol, incremental variant) over one stream, for ever resumed.
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tulle_wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tulle_wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status};

use super::resource::{Kind, unpack};
use crate::config::Config;
use crate::identity::ca_client::{IssueError, bearer, describe};
use crate::state::MeshState;
use crate::telemetry::metrics::Metrics;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// The first answer may hold the whole mesh in one message.
const MAX_RESPONSE: usize = 256 * 1024 * 1024;
/// google.rpc.Code INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;
/// A refusal names what it refuses, up to this many bytes.
const MAX_REFUSAL: usize = 4096;

/// How far the client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub connected: bool,
    pub addresses: bool,
    pub policies: bool,
}

impl Synced {
    /// Whether both types have been answered at least once. Losing the stream does not undo it.
    pub fn both(self) -> bool {
        self.addresses && self.policies
    }
}

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Token(#[from] IssueError),
    #[error("the control plane answered {code:?}: {message}")]
    Status { code: tonic::Code, message: String },
    #[error("the control plane closed the stream")]
    Closed,
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        Self::Status {
            code: status.code(),
            message: describe(&status),
        }
    }
}

/// Keeps [`MeshState`] equal to what the control plane says.
pub struct XdsClient {
    channel: Channel,
    token: PathBuf,
    node: Node,
    state: Arc<MeshState>,
    metrics: Arc<Metrics>,
    synced: watch::Sender<Synced>,
    /// Name to version of everything held, by kind.
    held: HashMap<Kind, HashMap<String, String>>,
}

impl XdsClient {
    pub fn new(
        channel: Channel,
        config: &Config,
        state: Arc<MeshState>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            channel,
            token: config.token.clone(),
            node: node(config),
            state,
            metrics,
            synced: watch::Sender::default(),
            held: HashMap::new(),
        }
    }

    pub fn synced(&self) -> watch::Receiver<Synced> {
        self.synced.subscribe()
    }

    /// Streams for ever; the state stays as it is while there is no stream.
    pub async fn run(mut self) {
        let mut wait = FIRST_RETRY;
        loop {
            let err = match self.stream(&mut wait).await {
                Ok(never) => match never {},
                Err(err) => err,
            };
            self.synced.send_modify(|synced| synced.connected = false);
            self.metrics.xds_connected.set(0);
            let jittered = wait.mul_f64(0.5 + 0.5 * fastrand::f64());
            tracing::warn!(%err, retry_milliseconds = jittered.as_millis(), "no xDS stream");
            tokio::time::sleep(jittered).await;
            wait = (wait * 2).min(LONGEST_RETRY);
        }
    }

    async fn stream(
        &mut self,
        wait: &mut Duration,
    ) -> Result<std::convert::Infallible, StreamError> {
        // One answer is in work at a time, so there are never more requests than kinds.
        let (requests, outgoing) = mpsc::channel(2 * Kind::ALL.len());
        for kind in Kind::ALL {
            let _room = requests.try_send(self.subscription(kind));
        }
        let mut call = tonic::Request::new(ReceiverStream::new(outgoing));
        call.metadata_mut()
            .insert("authorization", bearer(&self.token).await?);
        let mut answers = AggregatedDiscoveryServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_RESPONSE)
            .delta_aggregated_resources(call)
            .await?
            .into_inner();
        tracing::info!("xDS stream open");
        self.metrics.xds_connected.set(1);
        self.synced.send_modify(|synced| synced.connected = true);
        while let Some(answer) = answers.message().await? {
            *wait = FIRST_RETRY;
            if let Some(reply) = self.take(answer) {
                requests
                    .send(reply)
                    .await
                    .map_err(|_| StreamError::Closed)?;
            }
        }
        Err(StreamError::Closed)
    }

    /// The first request of a stream for one kind: everything, and what we hold of it.
    fn subscription(&self, kind: Kind) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: self.held.get(&kind).cloned().unwrap_or_default(),
            ..Default::default()
        }
    }

    /// Applies an answer and says what to reply.
    fn take(&mut self, answer: DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let Some(kind) = Kind::of(&answer.type_url) else {
            tracing::warn!(
                type_url = answer.type_url,
                "the control plane sent what was not asked for"
            );
            return None;
        };
        let nonce = answer.nonce.clone();
        let delivery = unpack(kind, answer);
        let held = self.held.entry(kind).or_default();
        for name in &delivery.removed {
            held.remove(name);
        }
        held.extend(delivery.versions);
        self.state.apply(delivery.changes);
        self.metrics.xds_resources(kind.type_url(), held.len());
        self.synced.send_modify(|synced| match kind {
            Kind::Address => synced.addresses = true,
            Kind::Authorization => synced.policies = true,
        });
        let error_detail = (!delivery.refused.is_empty()).then(|| {
            self.metrics.xds_refused.inc();
            let mut message = delivery.refused.join("; ");
            tracing::warn!(
                type_url = kind.type_url(),
                err = message,
                "resources refused"
            );
            message.truncate(message.floor_char_boundary(MAX_REFUSAL));
            Status {
                code: INVALID_ARGUMENT,
                message,
            }
        });
        Some(DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            response_nonce: nonce,
            error_detail,
            ..Default::default()
        })
    }
}

/// As ambient node proxies name themselves.
fn node(config: &Config) -> Node {
    let Config {
        pod_ip,
        pod_name,
        pod_namespace,
        ..
    } = config;
    let text = |value: &str| Value {
        kind: Some(ValueKind::StringValue(value.to_owned())),
    };
    let metadata = [
        ("NODE_NAME", config.node_name.as_str()),
        ("CLUSTER_ID", config.cluster_id.as_str()),
        ("NETWORK", config.network.as_str()),
    ];
    let fields: BTreeMap<_, _> = metadata
        .into_iter()
        .map(|(name, value)| (name.to_owned(), text(value)))
        .collect();
    Node {
        id: format!(
            "ztunnel~{pod_ip}~{pod_name}.{pod_namespace}~{pod_namespace}.svc.cluster.local"
        ),
        cluster: String::new(),
        metadata: Some(Struct { fields }),
    }
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
