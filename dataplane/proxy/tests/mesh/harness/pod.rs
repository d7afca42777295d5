//! A pod: its namespace, its rules, and what its applications do.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tulle_names::{
    HBONE_PORT, INBOUND_PLAINTEXT_PORT, MARK_MASK, NODE_SOURCE_V4, ORIGINAL_SOURCE_MARK,
    OUTBOUND_PORT, PROXY_MARK, ROUTE_TABLE,
};

use super::app::Echo;
use super::network::Ns;

pub const NAMESPACE: &str = "shop";

pub struct Pod {
    pub ns: Ns,
    pub name: String,
    /// Its service account; the pod's name, where a test does not say another.
    pub account: String,
    pub ip: Ipv4Addr,
}

/// The redirects of an enrolled pod.
fn rules() -> String {
    format!(
        "
ip rule add fwmark {ORIGINAL_SOURCE_MARK:#x}/{MARK_MASK:#x} lookup {ROUTE_TABLE}
ip route add local 0.0.0.0/0 dev lo table {ROUTE_TABLE}
nft -f - <<END
table inet tulle {{
  chain mangle_prerouting {{
    type filter hook prerouting priority mangle;
    meta mark {PROXY_MARK:#x} ct mark set {ORIGINAL_SOURCE_MARK:#x}
  }}
  chain mangle_output {{
    type route hook output priority mangle;
    ct mark {ORIGINAL_SOURCE_MARK:#x} meta mark set ct mark
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip saddr {NODE_SOURCE_V4} meta l4proto tcp accept
    ip daddr != 127.0.0.1 tcp dport != {HBONE_PORT} meta mark != {PROXY_MARK:#x} tcp flags & (fin|syn|rst|ack) == syn redirect to :{INBOUND_PLAINTEXT_PORT}
  }}
  chain output {{
    type nat hook output priority -100;
    ip daddr {NODE_SOURCE_V4} accept
    ct mark {ORIGINAL_SOURCE_MARK:#x} accept
    oifname lo ip daddr != 127.0.0.1 accept
    ip daddr != 127.0.0.1 meta mark 0 tcp flags & (fin|syn|rst|ack) == syn redirect to :{OUTBOUND_PORT}
  }}
}}
END
"
    )
}

impl Pod {
    pub fn new(name: &str, ip: Ipv4Addr) -> Self {
        Self {
            ns: Ns::new(),
            name: name.to_owned(),
            account: name.to_owned(),
            ip,
        }
    }

    /// Its address of the other family.
    pub fn ip6(&self) -> Ipv6Addr {
        let [.., last] = self.ip.octets();
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into())
    }

    /// The pod's UID, as ZDS names it.
    pub fn uid(&self) -> String {
        format!("uid-{}", self.name)
    }

    /// As xDS names it.
    pub fn workload_uid(&self) -> String {
        format!("Kubernetes//Pod/{NAMESPACE}/{}", self.name)
    }

    pub fn identity(&self) -> String {
        format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{}", self.account)
    }

    /// Redirects the pod's connections to the proxy.
    pub fn capture(&self) {
        self.ns.sh(&rules());
    }

    /// An application of the pod.
    pub async fn echo(&self, port: u16) -> Echo {
        Echo::start(self, port)
    }

    /// Connects from an address and port of the test's choice.
    pub fn connect_from(
        &self,
        from: IpAddr,
        port: u16,
        to: IpAddr,
        to_port: u16,
    ) -> io::Result<TcpStream> {
        let socket = self.ns.run(|| {
            let domain = Domain::for_address(SocketAddr::new(from, port));
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from, port).into())?;
            socket.connect_timeout(&SocketAddr::new(to, to_port).into(), Duration::from_secs(5))?;
            io::Result::Ok(socket)
        })?;
        socket.set_nonblocking(true)?;
        TcpStream::from_std(socket.into())
    }

    /// Connects as an application of the pod does.
    pub async fn connect(&self, to: impl Into<IpAddr>, port: u16) -> io::Result<TcpStream> {
        let to = SocketAddr::new(to.into(), port);
        let stream = self
            .ns
            .run(|| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5)))?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}
