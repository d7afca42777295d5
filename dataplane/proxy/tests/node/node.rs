//! A node with one agent and one proxy.
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tulle_agent::cluster::PodView;

use crate::fixture::node::{TestNode, mesh};
use crate::harness::authority::Authority;
use crate::harness::control::Control;
use crate::harness::http::get_port;
use crate::harness::network::Network;
use crate::harness::pod::{NAMESPACE, Pod};
use crate::harness::proxy::Proxy;
use crate::harness::{control, eventually};

pub struct Node {
    pub proxy: Proxy,
    pub agent: TestNode,
    pub control: Control,
    pub network: Network,
    pods: i32,
}

/// Runs `test` on a node of its own.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send) {
    let network = Network::new();
    let host = network.host.path();
    std::thread::scope(|scope| {
        let inside = move || {
            let namespace = std::fs::File::open(host).unwrap();
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { test(Node::start(network).await).await });
        };
        scope.spawn(inside).join().unwrap();
    });
}

impl Node {
    async fn start(network: Network) -> Self {
        let agent = TestNode::start(mesh(Duration::from_secs(600))).await;
        agent.cluster.label(NAMESPACE, Some("ambient"));
        let run = agent.path("run");
        let authority = Arc::new(Authority::new());
        std::fs::write(run.join("root-cert.pem"), authority.roots_pem()).unwrap();
        std::fs::write(run.join("token"), "a-projected-token\n").unwrap();
        let control = Control::start(&network.host, authority);
        let proxy = Proxy::start(&network.host, &run, "proxy-1", &[]);
        Self {
            agent,
            control,
            proxy,
            network,
            pods: 0,
        }
    }

    /// A pod of the mesh, announced once its node says that it is captured, as control does it.
    pub async fn pod(&mut self, name: &str, probe_ports: &[u16]) -> Pod {
        let pod = self.network.pod(name);
        let uid = self.captured(&pod, probe_ports).await;
        self.announce(&pod);
        self.until(&uid, "Secured").await;
        pod
    }

    /// Enrols a pod that runs, and returns its UID once its node says that it is captured.
    pub async fn captured(&mut self, pod: &Pod, probe_ports: &[u16]) -> String {
        self.pods += 1;
        let (uid, namespace) = (uid(self.pods), pod.ns.path());
        self.agent
            .run_process_in(1000 + self.pods, &uid, Path::new(&namespace));
        self.agent.cluster.put_pod(PodView {
            uid: uid.clone(),
            namespace: NAMESPACE.into(),
            name: pod.name.clone(),
            service_account: pod.account.clone(),
            ips: addresses(pod).to_vec(),
            probe_ports: probe_ports.iter().copied().collect(),
            ..PodView::default()
        });
        self.until(&uid, "captured").await;
        uid
    }

    /// Waits until the node says this of a pod.
    pub async fn until(&self, uid: &str, state: &str) {
        eventually(state, || {
            let entry = self.agent.cluster.stored_pod(uid)?;
            let is_so = match state {
                "captured" => entry.captured,
                state => format!("{:?}", entry.state) == state,
            };
            is_so.then_some(())
        })
        .await;
    }

    /// Has the control plane tell everybody to reach a pod by HBONE, in both families.
    pub fn announce(&self, pod: &Pod) {
        let v6 = pod.ip6().octets().to_vec();
        self.control
            .announce(pod, |workload| workload.addresses.push(v6.into()));
    }

    /// The node's last captured pod ends: its process and its object are gone.
    pub fn end_last_pod(&self, uid: &str) {
        self.agent.end_process(1000 + self.pods);
        self.agent.cluster.delete_pod(uid);
    }

    /// Another proxy, as a roll-out starts one before it ends the first.
    pub fn another_proxy(&self, name: &str) -> Proxy {
        let namespace = self.network.proxy_namespace(&self.control);
        Proxy::start(&namespace, &self.agent.path("run"), name, &[])
    }

    /// Tells the policy of a Mesh in Strict, and waits until it has arrived.
    pub async fn strict(&self) {
        self.control.policy(control::strict_mtls());
        eventually("Strict is in force", || {
            let (_, dump) = get_port(&self.network.host, 15000, "/config_dump").ok()?;
            dump.contains("strict-mtls").then_some(())
        })
        .await;
    }
}

/// A UID in the form the kubelet finds in the names of cgroups.
fn uid(number: i32) -> String {
    format!("3f0c2a6e-6b1a-4a39-9d52-{number:012x}")
}

/// Both addresses of a pod.
pub fn addresses(pod: &Pod) -> [IpAddr; 2] {
    [pod.ip.into(), pod.ip6().into()]
}
