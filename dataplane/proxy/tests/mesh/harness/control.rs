//! A control plane: signs, and tells what the test wants told.
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use prost::Message;
use prost_types::Any;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use tulle_wire::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use tulle_wire::ca::{IstioCertificateRequest, IstioCertificateResponse};
use tulle_wire::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use tulle_wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use tulle_wire::security::string_match::MatchType;
use tulle_wire::{ADDRESS_TYPE, AUTHORIZATION_TYPE, security, workload};

use super::authority::{Authority, Validity, server};
use super::network::Ns;
use super::pod::{NAMESPACE, Pod};

/// Where the control plane listens, in the node's namespace.
pub use tulle_names::CONTROL_GRPC_PORT as PORT;

type Resources = BTreeMap<String, Vec<u8>>;

pub struct Control {
    told: watch::Sender<HashMap<&'static str, Resources>>,
    /// Counts up when streams are to end.
    cut: watch::Sender<u32>,
    shared: Arc<Shared>,
}

/// How an identity gets no certificate.
#[derive(Clone, Copy)]
pub enum Unsigned {
    Refused,
    Unavailable,
    Unanswered,
}

struct Shared {
    authority: Arc<Authority>,
    heard: Mutex<Vec<DeltaDiscoveryRequest>>,
    signed: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
    /// Identities that get no certificate, and every identity under the empty text.
    unsigned: Mutex<HashMap<String, Unsigned>>,
}

impl Control {
    pub fn start(host: &Ns, authority: Arc<Authority>) -> Self {
        let nothing = HashMap::from([
            (ADDRESS_TYPE, Resources::new()),
            (AUTHORIZATION_TYPE, Resources::new()),
        ]);
        let shared = Arc::new(Shared {
            authority,
            heard: Mutex::default(),
            signed: Mutex::default(),
            tokens: Mutex::default(),
            unsigned: Mutex::default(),
        });
        let control = Self {
            told: watch::Sender::new(nothing),
            cut: watch::Sender::default(),
            shared,
        };
        control.listen(host);
        control
    }

    /// Serves in a namespace.
    pub fn listen(&self, ns: &Ns) {
        let listener = ns
            .run(|| std::net::TcpListener::bind(("127.0.0.1", PORT)))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let discovery = Discovery {
            told: self.told.clone(),
            cut: self.cut.clone(),
            shared: self.shared.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(discovery))
            .add_service(IstioCertificateServiceServer::new(Signing(
                self.shared.clone(),
            )))
            .serve_with_incoming(secured(
                TcpListener::from_std(listener).unwrap(),
                self.shared.authority.clone(),
            ));
        tokio::spawn(server);
    }

    /// Ends every discovery stream.
    pub fn cut_off(&self) {
        self.cut.send_modify(|times| *times += 1);
    }

    /// Announces a pod as reached by HBONE, changed as the test wants.
    pub fn announce(&self, pod: &Pod, change: impl FnOnce(&mut workload::Workload)) {
        let mut announced = workload::Workload {
            uid: pod.workload_uid(),
            name: pod.name.clone(),
            namespace: NAMESPACE.into(),
            service_account: pod.account.clone(),
            addresses: vec![pod.ip.octets().to_vec().into()],
            tunnel_protocol: workload::TunnelProtocol::Hbone.into(),
            workload_name: pod.name.clone(),
            canonical_name: pod.name.clone(),
            cluster_id: "Kubernetes".into(),
            ..Default::default()
        };
        change(&mut announced);
        let name = announced.uid.clone();
        let address = workload::Address {
            r#type: Some(workload::address::Type::Workload(announced)),
        };
        self.tell(ADDRESS_TYPE, &name, Some(address.encode_to_vec()));
    }

    pub fn service(&self, service: workload::Service) {
        let name = format!("{}/{}", service.namespace, service.hostname);
        let address = workload::Address {
            r#type: Some(workload::address::Type::Service(service)),
        };
        self.tell(ADDRESS_TYPE, &name, Some(address.encode_to_vec()));
    }

    pub fn policy(&self, policy: security::Authorization) {
        let name = format!("{}/{}", policy.namespace, policy.name);
        self.tell(AUTHORIZATION_TYPE, &name, Some(policy.encode_to_vec()));
    }

    /// Tells a resource of any bytes, or that it is gone.
    pub fn tell(&self, kind: &'static str, name: &str, value: Option<Vec<u8>>) {
        self.told.send_modify(|all| {
            let resources = all.entry(kind).or_default();
            match value {
                Some(value) => drop(resources.insert(name.to_owned(), value)),
                None => drop(resources.remove(name)),
            }
        });
    }

    /// Every xDS request heard so far.
    pub fn heard(&self) -> Vec<DeltaDiscoveryRequest> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// The identities signed for, in order.
    pub fn signed(&self) -> Vec<String> {
        self.shared.signed.lock().unwrap().clone()
    }

    /// The authorization headers that came with signing requests.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.tokens.lock().unwrap().clone()
    }

    /// Refuses every identity, or none.
    pub fn refuse_to_sign(&self, refuse: bool) {
        let mut unsigned = self.shared.unsigned.lock().unwrap();
        unsigned.remove("");
        if refuse {
            unsigned.insert(String::new(), Unsigned::Refused);
        }
    }

    /// Has a pod's identity get no certificate.
    pub fn leave_unsigned(&self, pod: &Pod, how: Unsigned) {
        let mut unsigned = self.shared.unsigned.lock().unwrap();
        unsigned.insert(pod.identity(), how);
    }

    /// Has it get one again.
    pub fn sign_again(&self, pod: &Pod) {
        self.shared.unsigned.lock().unwrap().remove(&pod.identity());
    }
}

/// Each connection is shown a certificate of who signs by then.
fn secured(
    listener: TcpListener,
    authority: Arc<Authority>,
) -> ReceiverStream<std::io::Result<Secured>> {
    let (accepted, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let address = rcgen::SanType::IpAddress([127, 0, 0, 1].into());
            let credentials = authority.credentials(&[address], Validity::Now);
            let tls = TlsAcceptor::from(server(&credentials));
            let (accepted, accepting) = (accepted.clone(), tls.accept(tcp));
            tokio::spawn(async move {
                if let Ok(stream) = accepting.await {
                    let _ = accepted.send(Ok(Secured(stream))).await;
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

struct Signing(Arc<Shared>);

#[tonic::async_trait]
impl IstioCertificateService for Signing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .map(|v| v.to_str().unwrap().to_owned());
        self.0
            .tokens
            .lock()
            .unwrap()
            .push(token.unwrap_or_default());
        let request = request.into_inner();
        let fields = request.metadata.unwrap_or_default().fields;
        let Some(prost_types::value::Kind::StringValue(identity)) = fields
            .get("ImpersonatedIdentity")
            .and_then(|value| value.kind.clone())
        else {
            return Err(Status::invalid_argument("no identity"));
        };
        let unsigned = {
            let unsigned = self.0.unsigned.lock().unwrap();
            unsigned.get(&identity).or(unsigned.get("")).copied()
        };
        match unsigned {
            Some(Unsigned::Refused) => {
                let why = "no pod with that identity runs on the node";
                return Err(Status::permission_denied(why));
            }
            Some(Unsigned::Unavailable) => return Err(Status::unavailable("no authority yet")),
            Some(Unsigned::Unanswered) => std::future::pending().await,
            None => {}
        }
        self.0.signed.lock().unwrap().push(identity.clone());
        let cert_chain = self.0.authority.sign(&request.csr, &identity);
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

struct Discovery {
    told: watch::Sender<HashMap<&'static str, Resources>>,
    /// Counts up when streams are to end.
    cut: watch::Sender<u32>,
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, outgoing) = mpsc::channel(16);
        let (mut told, mut cut) = (self.told.subscribe(), self.cut.subscribe());
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let mut sent: HashMap<String, Resources> = HashMap::new();
            loop {
                tokio::select! {
                    _ = cut.changed() => return,
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        shared.heard.lock().unwrap().push(request.clone());
                        if sent.contains_key(&request.type_url) {
                            continue;
                        }
                        sent.insert(request.type_url.clone(), Resources::new());
                        told.mark_changed();
                        let first = difference(&request.type_url, &Resources::new(), &Resources::new());
                        let _ = answers.send(Ok(first)).await;
                    }
                    _ = told.changed() => {
                        let all = told.borrow_and_update().clone();
                        for (kind, before) in &mut sent {
                            let Some(now) = all.get(kind.as_str()) else { continue };
                            if before != now {
                                let _ = answers.send(Ok(difference(kind, before, now))).await;
                                *before = now.clone();
                            }
                        }
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

fn difference(kind: &str, before: &Resources, now: &Resources) -> DeltaDiscoveryResponse {
    let changed = now
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value));
    DeltaDiscoveryResponse {
        type_url: kind.to_owned(),
        nonce: format!("{:08x}", fastrand::u32(..)),
        resources: changed
            .map(|(name, value)| Resource {
                name: name.clone(),
                version: "1".into(),
                resource: Some(Any {
                    type_url: kind.to_owned(),
                    value: value.clone(),
                }),
                aliases: vec![],
            })
            .collect(),
        removed_resources: before
            .keys()
            .filter(|name| !now.contains_key(*name))
            .cloned()
            .collect(),
        ..Default::default()
    }
}

/// A TLS connection tonic can serve.
struct Secured(TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Strict mode, as the control plane writes it.
pub fn strict_mtls() -> security::Authorization {
    let presence = security::StringMatch {
        match_type: Some(MatchType::Presence(())),
    };
    let no_identity = security::Match {
        not_principals: vec![presence],
        ..Default::default()
    };
    security::Authorization {
        name: "strict-mtls".into(),
        namespace: "tulle-system".into(),
        scope: security::Scope::Global.into(),
        action: security::Action::Deny.into(),
        rules: vec![security::Rule {
            clauses: vec![security::Clause {
                matches: vec![no_identity],
            }],
        }],
        dry_run: false,
    }
}
