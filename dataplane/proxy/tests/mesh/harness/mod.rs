//! A mesh on one machine: namespaces for pods, a control plane, an agent, and proxies.
pub mod agent;
pub mod app;
pub mod authority;
pub mod control;
pub mod foreign;
pub mod hammer;
pub mod http;
pub mod network;
pub mod pod;
pub mod proxy;

use std::collections::HashMap;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::{Agent, Conversation};
use authority::Authority;
use control::Control;
use network::{Network, Ns};
use pod::Pod;
use proxy::Proxy;
use tulle_proxy::tls::bundle::Bundle;

/// Longer than anything here takes when it works.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Mesh {
    pub authority: Arc<Authority>,
    pub control: Control,
    pub network: Network,
    pub agent: Agent,
    /// The conversation with the newest proxy.
    pub conversation: Conversation,
    pub proxy: Proxy,
    pub folder: Folder,
}

impl Mesh {
    /// A mesh with one proxy that has no pods yet.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same, with more in the proxy's environment.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        Self::with_proxy(|host, folder| Proxy::start(host, folder, "proxy-1", env)).await
    }

    /// The same with a proxy whose log nobody reads, and the end to read it from.
    pub async fn unread(env: &[(&str, &str)]) -> (Self, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let start = |host: &Ns, folder: &Path| {
            Proxy::writing_to(writer.into(), host, folder, "proxy-1", env)
        };
        (Self::with_proxy(start).await, reader)
    }

    async fn with_proxy(start: impl FnOnce(&Ns, &Path) -> Proxy) -> Self {
        let folder = Folder::new();
        let network = Network::new();
        let authority = Arc::new(Authority::new());
        std::fs::write(folder.0.join("root-cert.pem"), authority.roots_pem()).unwrap();
        std::fs::write(folder.0.join("token"), "a-projected-token\n").unwrap();
        let control = Control::start(&network.host, authority.clone());
        let agent = Agent::listen(&folder.0.join(tulle_zds::SOCKET_NAME));
        let proxy = start(&network.host, &folder.0);
        let conversation = agent.accept();
        Self {
            authority,
            control,
            network,
            agent,
            conversation,
            proxy,
            folder,
        }
    }

    /// An enrolled pod: served, captured, announced.
    pub async fn pod(&mut self, name: &str) -> Pod {
        let pod = self.network.pod(name);
        self.control.announce(&pod, |_| {});
        self.conversation.add(&pod).unwrap();
        pod.capture();
        pod
    }

    /// A pod outside the mesh, which the control plane does not know.
    pub fn outsider(&mut self, name: &str) -> Pod {
        self.network.pod(name)
    }

    /// Makes the control plane and the node trust these authorities' roots, and waits until every
    /// certificate has come with them.
    pub async fn trust(&self, authorities: &[&Authority]) {
        self.authority.tell_roots_of(authorities);
        let bundle = self.authority.roots_pem();
        std::fs::write(self.folder.0.join("root-cert.pem"), &bundle).unwrap();
        let expected = Bundle::parse(bundle.as_bytes()).unwrap().sha256;
        eventually("the roots to be acknowledged", || {
            (self.proxy.status()["trustBundleSha256"] == expected).then_some(())
        })
        .await;
    }

    /// Waits until what the control plane told has arrived.
    pub async fn told(&self, arrived: impl Fn(&serde_json::Value) -> bool) {
        eventually("the control plane's word", || {
            let (_, dump) = http::get_port(&self.network.host, 15000, "/config_dump").ok()?;
            arrived(&serde_json::from_str(&dump).ok()?).then_some(())
        })
        .await;
    }

    /// The access-log lines that have been written, once there are `count` of them.
    pub async fn access_log(&self, count: usize) -> Vec<HashMap<String, serde_json::Value>> {
        eventually("access-log lines", || {
            let lines = self.proxy.access_log();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

/// A folder of one test, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!(
            "tulle-proxy-test-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Asks until there is an answer, or too long.
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "waited too long for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
