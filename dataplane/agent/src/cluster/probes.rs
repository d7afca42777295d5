//! Where the kubelet connects to a pod. Pure.
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, PodSpec, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Ports of probes and lifecycle hooks that the kubelet asks at the pod's own address. One with a
/// `host` of its own is somebody else's, whatever port it names: it gives no way into this pod,
/// and the pod it names lets the node reach the probes it declared itself.
pub fn probe_ports(spec: &PodSpec) -> BTreeSet<u16> {
    let containers = spec.containers.iter();
    let init = spec.init_containers.iter().flatten();
    containers.chain(init).flat_map(ports_of).collect()
}

fn ports_of(container: &Container) -> Vec<u16> {
    let probes = [
        &container.liveness_probe,
        &container.readiness_probe,
        &container.startup_probe,
    ];
    let of_probes = probes.into_iter().flatten().flat_map(|probe| {
        let Probe {
            http_get,
            tcp_socket,
            grpc,
            ..
        } = probe;
        [
            http_get.as_ref().and_then(|get| http_port(container, get)),
            tcp_socket.as_ref().and_then(|tcp| tcp_port(container, tcp)),
            grpc.as_ref().and_then(|grpc| number(grpc.port)),
        ]
    });
    let hooks = container.lifecycle.iter();
    let hooks = hooks.flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
    let of_hooks = hooks.flatten().map(|hook| {
        let get = hook.http_get.as_ref();
        get.and_then(|get| http_port(container, get))
    });
    of_probes.chain(of_hooks).flatten().collect()
}

fn http_port(container: &Container, get: &HTTPGetAction) -> Option<u16> {
    is_own(get.host.as_deref()).then(|| resolve(container, &get.port))?
}

fn tcp_port(container: &Container, tcp: &TCPSocketAction) -> Option<u16> {
    is_own(tcp.host.as_deref()).then(|| resolve(container, &tcp.port))?
}

fn is_own(host: Option<&str>) -> bool {
    host.is_none_or(str::is_empty)
}

/// A port by number, or by the name the container gives it.
fn resolve(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| number(port.container_port))
        }
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ports(spec: serde_json::Value) -> Vec<u16> {
        probe_ports(&serde_json::from_value(spec).unwrap())
            .into_iter()
            .collect()
    }

    #[test]
    fn every_kind_of_probe_and_hook_counts_by_number_or_name() {
        let spec = json!({
            "initContainers": [{ "name": "sidecar", "startupProbe": { "tcpSocket": { "port": 7001 } } }],
            "containers": [
                {
                    "name": "web",
                    "ports": [{ "name": "health", "containerPort": 7002 }],
                    "livenessProbe": { "httpGet": { "port": "health" } },
                    "readinessProbe": { "grpc": { "port": 7003 } },
                    "lifecycle": { "preStop": { "httpGet": { "port": "7004", "host": "" } } },
                },
                { "name": "other", "readinessProbe": { "exec": { "command": ["true"] } } },
            ],
        });
        assert_eq!(ports(spec), [7001, 7002, 7003, 7004]);
    }

    #[test]
    fn r32_a_probe_of_another_address_opens_no_port_of_this_pod() {
        let spec = json!({ "containers": [{
            "name": "web",
            "livenessProbe": { "httpGet": { "port": 8080, "host": "10.0.0.9" } },
            "readinessProbe": { "tcpSocket": { "port": 8081, "host": "db" } },
        }] });
        assert!(ports(spec).is_empty());
    }

    #[test]
    fn what_is_no_port_is_none() {
        let spec = json!({ "containers": [{
            "name": "web",
            "livenessProbe": { "httpGet": { "port": "nobody" } },
            "readinessProbe": { "tcpSocket": { "port": 70000 } },
            "startupProbe": { "grpc": { "port": 0 } },
        }] });
        assert!(ports(spec).is_empty());
    }
}
