//! The CNI plugin and the agent together, from the plugin's standard input on. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod side_by_side;

use fixture::node::{TestNode, UID, mesh, pod};
use fixture::proxy::Proxy;
use fixture::{OUTSIDE_IP, PodNet, connect, echo_server, echoes, eventually, on_a_node};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;
use tulle_agent::cluster::PodView;
use tulle_cni::{CniError, Code, Environment, run};

const LONG: std::time::Duration = std::time::Duration::from_secs(600);
const PREVIOUS: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.99.0.2/24"},{"address":"fd99::2/64"}],"dns":{}}"#;

fn environment(command: &str, net: &PodNet, container: &str) -> Environment {
    Environment {
        command: Some(command.into()),
        container_id: Some(container.into()),
        netns: Some(net.pod_path()),
        args: Some(format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID={UID}"
        )),
    }
}

/// A pod of the same name starts in another namespace.
fn environment_of(namespace: &str, net: &PodNet) -> Environment {
    let other = environment("ADD", net, "c1");
    Environment {
        args: other.args.map(|args| args.replace("shop", namespace)),
        ..other
    }
}

/// Runs the plugin as the container runtime does.
async fn call(node: &TestNode, environment: Environment) -> Result<String, CniError> {
    let run_dir = node.path("run");
    tokio::task::spawn_blocking(move || {
        let config = format!(
            r#"{{"cniVersion":"1.0.0","name":"pods","type":"tulle-cni","runDir":"{}","prevResult":{PREVIOUS}}}"#,
            run_dir.display()
        );
        let mut output = Vec::new();
        run(&environment, config.as_bytes(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    })
    .await
    .unwrap()
}

/// The pod as the API server has it while its sandbox is being made: without an address.
fn starting() -> PodView {
    PodView {
        ips: Vec::new(),
        ..pod()
    }
}

async fn node_with_proxy() -> (TestNode, Proxy, PodNet) {
    let node = TestNode::start(mesh(LONG)).await;
    let proxy = Proxy::connect(&node).await;
    eventually("the node is ready", || {
        node.cluster.has_condition("Ready", "True")
    })
    .await;
    node.cluster.put_pod(starting());
    (node, proxy, PodNet::new())
}

#[test]
fn r24_a_pod_of_an_enrolled_namespace_starts_only_once_it_is_captured_and_announced() {
    on_a_node(async {
        let (node, proxy, net) = node_with_proxy().await;
        node.cluster.label("shop", Some("ambient"));
        let result = call(&node, environment("ADD", &net, "c1")).await.unwrap();
        assert_eq!(result, PREVIOUS);
        let entry = node
            .cluster
            .stored_pod(UID)
            .expect("it is announced before the plugin returns");
        assert!(entry.captured);
        assert_eq!(
            entry.ips,
            PodNet::ips(),
            "with the addresses the plugins before gave it"
        );
        assert!(net.in_pod("nft list ruleset").contains("redirect"));
        assert!(proxy.has(&format!("add {UID}")));
        eventually("nothing older is in a new pod", || {
            node.is("Secured/Secured", true)
        })
        .await;

        call(&node, environment("DEL", &net, "c1")).await.unwrap();
        eventually("the proxy is told", || proxy.has(&format!("del {UID}"))).await;
        eventually("the entry is gone", || {
            node.cluster.stored_pod(UID).is_none()
        })
        .await;
    });
}

#[test]
fn r24_a_pod_does_not_start_while_no_proxy_serves_it_and_the_error_says_so() {
    on_a_node(async {
        let node = TestNode::start(mesh(LONG)).await;
        eventually("the agent answers", || node.path("run/cni.sock").exists()).await;
        node.cluster.put_pod(starting());
        node.cluster.label("shop", Some("ambient"));
        let net = PodNet::new();
        let error = call(&node, environment("ADD", &net, "c1"))
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::TryAgainLater);
        assert!(
            error.message.contains("NoProxy") && error.message.contains("tulle-proxy"),
            "{}",
            error.message
        );
        assert!(!node.cluster.stored_pod(UID).unwrap().captured);
        call(&node, environment("DEL", &net, "c1")).await.unwrap();
        let _proxy = Proxy::connect(&node).await;
        call(&node, environment("ADD", &net, "c2"))
            .await
            .expect("the next attempt, with a proxy, works");
    });
}

#[test]
fn a_pod_outside_the_mesh_starts_at_once_and_untouched() {
    on_a_node(async {
        let (node, proxy, net) = node_with_proxy().await;
        let before = net.traces();
        let start = Instant::now();
        assert_eq!(
            call(&node, environment("ADD", &net, "c1")).await.unwrap(),
            PREVIOUS
        );
        assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
        assert_eq!(net.traces(), before);
        assert_eq!(proxy.messages(), ["snapshot"]);
        echo_server(&net.outside(), "0.0.0.0:7000").await;
        assert!(echoes(
            &connect(&net.pod(), &format!("{OUTSIDE_IP}:7000"))
                .await
                .unwrap()
        ));
    });
}

#[test]
fn r24_while_the_agent_is_away_only_pods_known_to_be_outside_start() {
    on_a_node(async {
        let (mut node, proxy, net) = node_with_proxy().await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the file names the namespace", || {
            std::fs::read_to_string(node.path("run/enrolled-namespaces.json"))
                .is_ok_and(|text| text.contains("shop"))
        })
        .await;
        node.stop();
        drop(proxy);
        let error = call(&node, environment("ADD", &net, "c1"))
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::TryAgainLater);
        assert!(
            error.message.contains("tulle-agent does not answer"),
            "{}",
            error.message
        );
        call(&node, environment("DEL", &net, "c1"))
            .await
            .expect("DEL never fails");

        for outside in ["elsewhere", "tulle-system"] {
            let environment = environment_of(outside, &net);
            assert_eq!(call(&node, environment).await.unwrap(), PREVIOUS);
        }
    });
}

#[test]
fn r36_after_a_reboot_pods_wait_for_the_agent_unless_they_can_never_be_in_the_mesh() {
    on_a_node(async {
        let (mut node, proxy, net) = node_with_proxy().await;
        node.cluster.label("shop", Some("ambient"));
        eventually("the file names the namespace", || {
            std::fs::read_to_string(node.path("run/enrolled-namespaces.json"))
                .is_ok_and(|text| text.contains("shop"))
        })
        .await;
        node.stop();
        drop(proxy);
        // /run is a tmpfs; the plugin and its configuration are on the disk.
        std::fs::remove_dir_all(node.path("run")).unwrap();
        assert!(node.path("conf/00-tulle.conflist").exists());
        for undecided in ["shop", "elsewhere"] {
            let refusal = call(&node, environment_of(undecided, &net))
                .await
                .unwrap_err();
            assert_eq!(refusal.code, Code::TryAgainLater);
            let message = refusal.message;
            assert!(message.contains("after a reboot"), "{message}");
            assert!(message.contains("tulle-agent does not answer"), "{message}");
        }
        for never in ["tulle-system", "kube-system"] {
            let started = call(&node, environment_of(never, &net)).await;
            assert_eq!(started.unwrap(), PREVIOUS);
        }

        node.restart().await;
        let _proxy = Proxy::connect(&node).await;
        call(&node, environment("ADD", &net, "c2")).await.unwrap();
        assert!(net.in_pod("nft list ruleset").contains("redirect"));
    });
}

#[test]
fn only_root_has_business_with_the_nodes_sockets() {
    on_a_node(async {
        let (node, _proxy, _net) = node_with_proxy().await;
        let mode = |name: &str| {
            let metadata = std::fs::metadata(node.path(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!((mode("run/cni.sock"), mode("run/zds.sock")), (0o600, 0o600));
        assert_eq!(mode("run"), 0o700);
    });
}

#[test]
fn a_sandbox_made_anew_is_captured_anew_and_the_old_ones_end_does_not_touch_it() {
    on_a_node(async {
        let (node, proxy, old) = node_with_proxy().await;
        node.cluster.label("shop", Some("ambient"));
        call(&node, environment("ADD", &old, "c1")).await.unwrap();
        let new = PodNet::new();
        call(&node, environment("ADD", &new, "c2")).await.unwrap();
        assert!(new.in_pod("nft list ruleset").contains("redirect"));
        call(&node, environment("DEL", &old, "c1")).await.unwrap();
        eventually("the new one is secured", || {
            node.is("Secured/Secured", true)
        })
        .await;
        let adds = proxy
            .messages()
            .iter()
            .filter(|message| message.starts_with("add"))
            .count();
        assert_eq!(adds, 2, "{:?}", proxy.messages());
        assert_eq!(
            proxy.messages().last().map(String::as_str),
            Some(format!("add {UID}").as_str())
        );
    });
}

#[test]
fn without_a_mesh_node_no_pod_starts_because_peers_cannot_be_told() {
    on_a_node(async {
        let (node, _proxy, net) = node_with_proxy().await;
        node.cluster.label("shop", Some("ambient"));
        *node.cluster.has_mesh_node.lock().unwrap() = false;
        let error = call(&node, environment("ADD", &net, "c1"))
            .await
            .unwrap_err();
        assert!(error.message.contains("MeshNode"), "{}", error.message);
    });
}
