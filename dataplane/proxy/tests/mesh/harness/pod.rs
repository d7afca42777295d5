//! A pod: its namespace, its rules, and what its applications do.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

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

/// The redirects of an enrolled pod, as Istio writes them.
const RULES: &str = "
ip rule add fwmark 0x111/0xfff lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
nft -f - <<END
table inet tulle {
  chain mangle_prerouting {
    type filter hook prerouting priority mangle;
    meta mark 0x539 ct mark set 0x111
  }
  chain mangle_output {
    type route hook output priority mangle;
    ct mark 0x111 meta mark set ct mark
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip saddr 169.254.7.127 meta l4proto tcp accept
    ip daddr != 127.0.0.1 tcp dport != 15008 meta mark != 0x539 tcp flags & (fin|syn|rst|ack) == syn redirect to :15006
  }
  chain output {
    type nat hook output priority -100;
    ip daddr 169.254.7.127 accept
    ct mark 0x111 accept
    oifname lo ip daddr != 127.0.0.1 accept
    ip daddr != 127.0.0.1 meta mark 0 tcp flags & (fin|syn|rst|ack) == syn redirect to :15001
  }
}
END
";

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
        self.ns.sh(RULES);
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
