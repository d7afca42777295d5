//! Ground for tests in network namespaces (root): a pod's namespace joined to
//! an outside one, and a node of one's own so that nothing touches the machine.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod cluster;
pub mod forge;
pub mod nft;
pub mod node;
pub mod proxy;
pub mod status;

use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use tulle_agent::netns::Netns;
use tulle_agent::rules::{Phase, PodRules, Ruler};
use tulle_socket_owner::SocketOwner;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Runs `test` in a network namespace of its own (the "node").
pub fn on_a_node<F: Future<Output = ()>>(test: F) {
    // What the agent logs, for whoever looks at a failure: RUST_LOG=info.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
    run("ip link set lo up");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// Runs a command line that must succeed; returns what it prints.
pub fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A pod's namespace (10.99.0.2, fd99::2) and the world outside it (10.99.0.1, fd99::1).
pub struct PodNet {
    pod: String,
    outside: String,
}

pub const POD_IP: &str = "10.99.0.2";
pub const OUTSIDE_IP: &str = "10.99.0.1";

impl PodNet {
    pub fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("tulle-test-{}-{number}-{side}", std::process::id());
        let net = Self {
            pod: name("pod"),
            outside: name("out"),
        };
        let (pod, outside) = (&net.pod, &net.outside);
        run(&format!("ip netns add {pod} && ip netns add {outside}"));
        run(&format!(
            "ip -n {pod} link add eth0 type veth peer name eth0 netns {outside}"
        ));
        // Link-local addresses come late and would look like something left behind: none.
        for (side, host) in [(pod, 2), (outside, 1)] {
            run(&format!(
                "ip -n {side} addr add 10.99.0.{host}/24 dev eth0 && ip -n {side} addr add fd99::{host}/64 dev eth0 nodad \
                 && ip -n {side} link set eth0 addrgenmode none up && ip -n {side} link set lo up"
            ));
        }
        run(&format!("ip -n {pod} route add default via 10.99.0.1"));
        net
    }

    /// A pod joined to the calling thread's own namespace, the node's; there is no outside.
    pub fn on_this_node() -> Self {
        let net = Self::new();
        let pod = &net.pod;
        run(&format!(
            "ip -n {pod} link del eth0 && ip link add eth0 type veth peer name eth0 netns {pod}"
        ));
        run(
            "ip addr add 10.99.0.1/24 dev eth0 && ip addr add fd99::1/64 dev eth0 nodad && ip link set eth0 up",
        );
        run(&format!(
            "ip -n {pod} addr add 10.99.0.2/24 dev eth0 && ip -n {pod} addr add fd99::2/64 dev eth0 nodad \
             && ip -n {pod} link set eth0 up && ip -n {pod} route add default via 10.99.0.1 \
             && ip -n {pod} -6 route add default via fd99::1"
        ));
        net
    }

    pub fn ips() -> Vec<IpAddr> {
        vec![POD_IP.parse().unwrap(), "fd99::2".parse().unwrap()]
    }

    pub fn pod_path(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.pod))
    }

    pub fn pod_name(&self) -> &str {
        &self.pod
    }

    pub fn pod(&self) -> Netns {
        Netns::open(&self.pod_path()).unwrap()
    }

    pub fn outside(&self) -> Netns {
        Netns::open(&PathBuf::from(format!("/run/netns/{}", self.outside))).unwrap()
    }

    /// Runs a command line inside the pod's namespace.
    pub fn in_pod(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.pod))
    }

    /// The same outside.
    pub fn in_outside(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.outside))
    }

    /// How many sockets listen in the pod on ports of the proxy's.
    pub fn listening(&self) -> usize {
        let sockets = self.in_pod("ss -Hltn");
        sockets.lines().filter(|line| line.contains(":150")).count()
    }

    /// Everything of rules and routes in the pod's namespace that an enrolment could leave behind.
    pub fn traces(&self) -> String {
        [
            "nft list ruleset",
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
        ]
        .iter()
        .map(|line| self.in_pod(line))
        .collect()
    }
}

impl Drop for PodNet {
    fn drop(&mut self) {
        for name in [&self.pod, &self.outside] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// What the proxy's sockets are known by in this test's pods.
pub fn owner() -> SocketOwner {
    static OWNER: OnceLock<SocketOwner> = OnceLock::new();
    *OWNER.get_or_init(|| SocketOwner::random().unwrap())
}

pub fn rules(phase: Phase, probe_ports: &[u16]) -> PodRules {
    PodRules {
        phase,
        owner: owner(),
        probe_ports: probe_ports.iter().copied().collect(),
    }
}

/// Writes the capturing rules of a pod without probes.
pub async fn capture(pod: &Netns) {
    capture_with(pod, &[]).await;
}

/// The same for a pod that is probed.
pub async fn capture_with(pod: &Netns, probe_ports: &[u16]) {
    let rules = rules(Phase::Capture, probe_ports);
    Ruler.write_pod_rules(pod, rules, true).await.unwrap();
}

/// Asks again until `check` is true; fails after 20 s.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Echoes on `port` of `namespace`, one thread a connection.
pub async fn echo_server(namespace: &Netns, address: &str) {
    let address = address.to_owned();
    let listener = namespace
        .run(move || TcpListener::bind(address))
        .await
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut writer);
            });
        }
    });
}

pub async fn connect(namespace: &Netns, address: &str) -> std::io::Result<TcpStream> {
    let address: std::net::SocketAddr = address.parse().unwrap();
    namespace
        .run(move || {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(stream)
        })
        .await
}

/// The same from a given local port, which other connections may have too.
pub async fn connect_from(namespace: &Netns, port: u16, address: &str) -> TcpStream {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    let to: std::net::SocketAddrV4 = address.parse().unwrap();
    let fd = namespace
        .run(move || {
            let fd = socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &SockaddrIn::new(10, 99, 0, 2, port))?;
            connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
            Ok(fd)
        })
        .await
        .unwrap();
    let stream = TcpStream::from(fd);
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

/// Whether the other end echoes what is sent.
pub fn echoes(mut stream: &TcpStream) -> bool {
    use std::io::{Read, Write};
    let mut answer = [0; 5];
    stream.write_all(b"hello").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"hello"
}
