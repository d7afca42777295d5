//! Network namespaces on a bridge.
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sched::{CloneFlags, setns, unshare};

use super::control::Control;
use super::pod::Pod;

/// The node's own address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A namespace, gone with its last descriptor and process.
pub struct Ns(pub OwnedFd);

impl Ns {
    pub fn new() -> Self {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need root");
            File::open("/proc/thread-self/ns/net").unwrap().into()
        };
        Self(std::thread::spawn(open).join().unwrap())
    }

    /// Runs `work` inside, in a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = || {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            scope.spawn(inside).join().unwrap()
        })
    }

    /// Runs a script inside.
    pub fn sh(&self, script: &str) {
        let status = self.run(|| Command::new("sh").args(["-ec", script]).status().unwrap());
        assert!(status.success(), "{script}");
    }

    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// One node: its own namespace, with a bridge that pods hang on.
pub struct Network {
    pub host: Ns,
    next: AtomicU8,
}

impl Network {
    pub fn new() -> Self {
        let host = Ns::new();
        host.sh("ip link set lo up; ip link add br0 type bridge; ip addr add 10.77.0.1/24 dev br0; ip addr add fd77::1/64 dev br0 nodad; ip link set br0 up");
        Self {
            host,
            next: AtomicU8::new(2),
        }
    }

    /// A namespace for another proxy of the node, where the control plane listens too.
    pub fn proxy_namespace(&self, control: &Control) -> Ns {
        let ns = Ns::new();
        ns.sh("ip link set lo up");
        control.listen(&ns);
        ns
    }

    /// A pod's namespace with an address, not enrolled.
    pub fn pod(&self, name: &str) -> Pod {
        self.pod_at(name, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Another pod with the address of one whose link goes now.
    pub fn pod_in_place_of(&self, gone: &Pod, name: &str) -> Pod {
        let [.., last] = gone.ip.octets();
        self.host.sh(&format!("ip link del veth{last}"));
        self.pod_at(name, last)
    }

    fn pod_at(&self, name: &str, last: u8) -> Pod {
        let pod = Pod::new(name, [10, 77, 0, last].into());
        self.host.sh(&format!(
            "ip link add veth{last} type veth peer name eth0 address 02:00:00:00:00:{last:02x} netns {}; ip link set veth{last} master br0 up",
            pod.ns.path()
        ));
        pod.ns.sh(&format!(
            "ip link set lo up; ip addr add 10.77.0.{last}/24 dev eth0; ip addr add fd77::{last:x}/64 dev eth0 nodad; \
             ip link set eth0 up; ip route add default via 10.77.0.1; ip route add default via fd77::1"
        ));
        pod
    }
}
