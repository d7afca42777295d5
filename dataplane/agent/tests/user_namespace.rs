//! A pod with a user namespace of its own, in which rules see the proxy's owner as nobody. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use fixture::node::{TestNode, UID, mesh, pod};
use fixture::proxy::Proxy;
use fixture::{POD_IP, eventually, on_a_node, run};
use tulle_agent::cluster::PodView;

/// A process in user and network namespaces of its own; ended when dropped.
struct Apart(Child);

impl Apart {
    fn start() -> Self {
        let arguments = ["--user", "--map-root-user", "--net", "sleep", "600"];
        Self(Command::new("unshare").args(arguments).spawn().unwrap())
    }

    fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn r31_a_pod_with_users_of_its_own_is_refused_and_never_captured() {
    on_a_node(async {
        let node = TestNode::start(mesh(Duration::from_secs(600))).await;
        let apart = Apart::start();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually("it is apart", || {
            std::fs::read_link(apart.namespace()).is_ok_and(|namespace| namespace != own)
        })
        .await;
        let inside = format!("nsenter --net={}", apart.namespace().display());
        run(&format!("{inside} ip addr add {POD_IP}/32 dev lo"));
        node.run_process_in(4242, UID, &apart.namespace());
        node.cluster.put_pod(PodView {
            ips: vec![POD_IP.parse().unwrap()],
            ..pod()
        });
        let _proxy = Proxy::connect(&node).await;
        node.cluster.label("shop", Some("ambient"));
        eventually("it is refused", || node.is("Failed/UserNamespace", false)).await;
        assert!(!run(&format!("{inside} nft list tables")).contains("tulle"));
    });
}
