use super::*;
use crate::state::{Change, MeshState};
use tulle_wire::workload as wire;
use wire::load_balancing::{Mode, Scope};

fn pod(uid: &str, last: u8, change: impl FnOnce(&mut wire::Workload)) -> Change {
    let mut workload = wire::Workload {
        uid: uid.into(),
        name: uid.into(),
        namespace: "shop".into(),
        service_account: uid.into(),
        addresses: vec![vec![10, 0, 0, last].into()],
        tunnel_protocol: wire::TunnelProtocol::Hbone.into(),
        ..Default::default()
    };
    change(&mut workload);
    Change::Workload(Box::new(Workload::parse(workload).unwrap()))
}

fn of_cart(workload: &mut wire::Workload) {
    workload
        .services
        .insert("shop/cart".into(), Default::default());
}

fn cart(change: impl FnOnce(&mut wire::Service)) -> Change {
    let mut service = wire::Service {
        name: "cart".into(),
        namespace: "shop".into(),
        hostname: "cart".into(),
        addresses: vec![wire::NetworkAddress {
            address: vec![10, 96, 0, 1].into(),
            ..Default::default()
        }],
        ports: vec![wire::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        ..Default::default()
    };
    change(&mut service);
    Change::Service(Box::new(Service::parse(service).unwrap()))
}

fn waypoint(port: u32) -> Option<wire::GatewayAddress> {
    Some(wire::GatewayAddress {
        destination: Some(wire::gateway_address::Destination::Hostname(
            wire::NamespacedHostname {
                namespace: "shop".into(),
                hostname: "waypoint".into(),
            },
        )),
        hbone_mtls_port: port,
    })
}

fn way_from(source: Option<&str>, changes: Vec<Change>, to: &str, chance: f64) -> Way {
    let state = MeshState::default();
    state.apply(changes);
    let mesh = state.read();
    let workload = source.and_then(|uid| mesh.workload(uid)).map(AsRef::as_ref);
    resolve(
        &mesh,
        &Origin {
            workload,
            network: "",
            affinity: &Affinity::default(),
            now: Instant::now(),
            chance,
        },
        to.parse().unwrap(),
    )
    .way
}

fn way(changes: Vec<Change>, to: &str) -> Way {
    way_from(None, changes, to, 0.0)
}

fn tunnel(account: &str, at: &str, target: &str) -> Way {
    Way::Tunnel {
        peer: Peer {
            identity: format!("spiffe://cluster.local/ns/shop/sa/{account}")
                .parse()
                .unwrap(),
            address: at.parse().unwrap(),
        },
        target: target.parse().unwrap(),
    }
}

#[test]
fn the_mesh_is_tunnelled_and_the_rest_goes_as_it_is() {
    let pods = || vec![pod("a", 1, |_| {}), pod("b", 2, |w| w.tunnel_protocol = 0)];
    assert_eq!(
        way(pods(), "10.0.0.1:80"),
        tunnel("a", "10.0.0.1:15008", "10.0.0.1:80")
    );
    assert_eq!(
        way(pods(), "10.0.0.2:80"),
        Way::Plaintext("10.0.0.2:80".parse().unwrap())
    );
    assert_eq!(
        way(pods(), "1.1.1.1:443"),
        Way::Plaintext("1.1.1.1:443".parse().unwrap())
    );
}

#[test]
fn the_proxys_ports_in_the_mesh_are_no_destination() {
    for port in [15001, 15006, 15008] {
        let to = format!("10.0.0.1:{port}");
        assert_eq!(
            way(vec![pod("a", 1, |_| {})], &to),
            Way::Refused(Refusal::OwnPort)
        );
        let outside = format!("1.1.1.1:{port}");
        assert!(matches!(way(vec![], &outside), Way::Plaintext(_)));
    }
}

#[test]
fn a_service_goes_to_a_healthy_endpoint_and_its_port() {
    let healthy = || vec![cart(|_| {}), pod("a", 1, of_cart)];
    assert_eq!(
        way(healthy(), "10.96.0.1:80"),
        tunnel("a", "10.0.0.1:15008", "10.0.0.1:8080")
    );
    assert_eq!(
        way(healthy(), "10.96.0.1:81"),
        Way::Refused(Refusal::NoPort)
    );
    let ill = vec![
        cart(|_| {}),
        pod("a", 1, |w| {
            of_cart(w);
            w.status = 1
        }),
    ];
    assert_eq!(way(ill, "10.96.0.1:80"), Way::Refused(Refusal::NoEndpoint));
    let far = vec![
        cart(|_| {}),
        pod("a", 1, |w| {
            of_cart(w);
            w.network = "far".into()
        }),
    ];
    assert_eq!(way(far, "10.96.0.1:80"), Way::Refused(Refusal::NoEndpoint));
    assert_eq!(
        way(vec![cart(|_| {})], "10.96.0.1:80"),
        Way::Refused(Refusal::NoEndpoint)
    );
}

#[test]
fn the_endpoints_own_port_counts_first() {
    let named = |port| {
        move |w: &mut wire::Workload| {
            let ports = vec![wire::Port {
                service_port: 80,
                target_port: port,
                app_protocol: 0,
            }];
            w.services
                .insert("shop/cart".into(), wire::PortList { ports });
        }
    };
    let own = vec![cart(|_| {}), pod("a", 1, named(9090))];
    assert_eq!(
        way(own, "10.96.0.1:80"),
        tunnel("a", "10.0.0.1:15008", "10.0.0.1:9090")
    );
    let none = vec![cart(|_| {}), pod("a", 1, named(0))];
    assert_eq!(way(none, "10.96.0.1:80"), Way::Refused(Refusal::NoEndpoint));
}

#[test]
fn all_endpoints_get_their_share() {
    let three = || {
        vec![
            cart(|_| {}),
            pod("a", 1, of_cart),
            pod("b", 2, of_cart),
            pod("c", 3, |w| {
                of_cart(w);
                w.capacity = Some(2)
            }),
        ]
    };
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for step in 0..400 {
        // Endpoints come in no order, so each throw may fall to another: count over many.
        if let Way::Tunnel { peer, .. } = way_from(
            None,
            three(),
            "10.96.0.1:80",
            (f64::from(step) + 0.5) / 400.0,
        ) {
            *counts.entry(peer.address.to_string()).or_default() += 1;
        }
    }
    assert_eq!(counts.values().sum::<u32>(), 400);
    assert!(
        counts["10.0.0.1:15008"] > 50 && counts["10.0.0.2:15008"] > 50,
        "{counts:?}"
    );
    assert!(counts["10.0.0.3:15008"] > 140, "{counts:?}");
    let none = vec![
        cart(|_| {}),
        pod("a", 1, |w| {
            of_cart(w);
            w.capacity = Some(0)
        }),
    ];
    assert_eq!(way(none, "10.96.0.1:80"), Way::Refused(Refusal::NoEndpoint));
}

#[test]
fn near_endpoints_are_preferred_or_demanded() {
    let mesh = |mode: Mode, with_near: bool| {
        let mut changes = vec![
            cart(move |s| {
                s.load_balancing = Some(wire::LoadBalancing {
                    routing_preference: vec![Scope::Node.into()],
                    mode: mode.into(),
                    health_policy: 0,
                });
            }),
            pod("me", 9, |w| w.node = "n1".into()),
            pod("far", 1, |w| {
                of_cart(w);
                w.node = "n2".into()
            }),
        ];
        if with_near {
            changes.push(pod("near", 2, |w| {
                of_cart(w);
                w.node = "n1".into()
            }));
        }
        changes
    };
    let near = tunnel("near", "10.0.0.2:15008", "10.0.0.2:8080");
    let far = tunnel("far", "10.0.0.1:15008", "10.0.0.1:8080");
    for chance in [0.0, 0.5, 0.99] {
        assert_eq!(
            way_from(Some("me"), mesh(Mode::Strict, true), "10.96.0.1:80", chance),
            near
        );
        assert_eq!(
            way_from(
                Some("me"),
                mesh(Mode::Failover, true),
                "10.96.0.1:80",
                chance
            ),
            near
        );
    }
    assert_eq!(
        way_from(Some("me"), mesh(Mode::Failover, false), "10.96.0.1:80", 0.5),
        far
    );
    let strict = way_from(Some("me"), mesh(Mode::Strict, false), "10.96.0.1:80", 0.5);
    assert_eq!(strict, Way::Refused(Refusal::NoEndpoint));
}

#[test]
fn a_waypoint_is_gone_through_or_nothing_goes() {
    let with_waypoint = |present: bool| {
        let mut changes = vec![cart(|s| s.waypoint = waypoint(15008)), pod("a", 1, of_cart)];
        if present {
            changes.push(cart(|s| {
                s.hostname = "waypoint".into();
                s.addresses = vec![];
                s.ports = vec![wire::Port {
                    service_port: 15008,
                    target_port: 15008,
                    app_protocol: 0,
                }];
            }));
            changes.push(pod("wp", 7, |w| {
                drop(
                    w.services
                        .insert("shop/waypoint".into(), Default::default()),
                )
            }));
        }
        changes
    };
    assert_eq!(
        way(with_waypoint(true), "10.96.0.1:80"),
        tunnel("wp", "10.0.0.7:15008", "10.96.0.1:80")
    );
    assert_eq!(
        way(with_waypoint(false), "10.96.0.1:80"),
        Way::Refused(Refusal::NoWaypoint)
    );
    let workload = vec![pod("a", 1, |w| w.waypoint = waypoint(15008))];
    assert_eq!(
        way(workload, "10.0.0.1:80"),
        Way::Refused(Refusal::NoWaypoint)
    );
}

#[test]
fn what_is_in_the_mesh_by_now_is_told_by_its_address() {
    let told = |changes: Vec<Change>, at: &str| {
        let state = MeshState::default();
        state.apply(changes);
        in_mesh(&state.read(), "", at.parse().unwrap())
    };
    let plain = |uid: &str, last: u8| {
        pod(uid, last, |workload| {
            workload.tunnel_protocol = 0;
            of_cart(workload);
        })
    };
    assert!(!told(vec![plain("a", 1)], "10.0.0.1:80"));
    assert!(!told(vec![], "1.1.1.1:443"));
    assert!(told(vec![pod("a", 1, |_| {})], "10.0.0.1:80"));
    let behind = pod("a", 1, |workload| {
        workload.tunnel_protocol = 0;
        workload.waypoint = waypoint(15008);
    });
    assert!(told(vec![behind], "10.0.0.1:80"));

    let service = "10.96.0.1:80";
    assert!(!told(vec![cart(|_| {}), plain("a", 1)], service));
    let one_in = vec![cart(|_| {}), plain("a", 1), pod("b", 2, of_cart)];
    assert!(told(one_in, service));
}

#[path = "unreadable_test.rs"]
mod unreadable;
