use super::*;
use crate::policy::{Action, Policy, Scope};
use tulle_wire::workload as wire;

fn workload(uid: &str, ip: u8, services: &[&str]) -> Change {
    Change::Workload(Box::new(
        Workload::parse(wire::Workload {
            uid: uid.into(),
            namespace: "shop".into(),
            service_account: uid.into(),
            addresses: vec![vec![10, 0, 0, ip].into()],
            services: services
                .iter()
                .map(|name| ((*name).into(), Default::default()))
                .collect(),
            authorization_policies: vec!["shop/chosen".into()],
            ..Default::default()
        })
        .unwrap(),
    ))
}

fn host_network(uid: &str, ip: u8) -> Change {
    let Change::Workload(mut host) = workload(uid, ip, &[]) else {
        unreachable!()
    };
    host.host_network = true;
    host.node = "node-1".into();
    Change::Workload(host)
}

fn service(hostname: &str, ip: u8) -> Change {
    Change::Service(Box::new(
        Service::parse(wire::Service {
            name: hostname.into(),
            namespace: "shop".into(),
            hostname: hostname.into(),
            addresses: vec![wire::NetworkAddress {
                address: vec![10, 96, 0, ip].into(),
                ..Default::default()
            }],
            ..Default::default()
        })
        .unwrap(),
    ))
}

fn policy(name: &str, scope: Scope) -> Change {
    Change::Policy(Box::new(Policy {
        name: format!("shop/{name}"),
        namespace: "shop".into(),
        scope,
        action: Action::Deny,
        dry_run: false,
        rules: vec![],
        unreadable: None,
    }))
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn holder(state: &MeshState, last: u8) -> Option<String> {
    state
        .read()
        .workload_by_ip("", ip(last))
        .map(|workload| workload.uid.clone())
}

#[test]
fn an_address_belongs_to_its_newest_holder_and_goes_back() {
    let state = MeshState::default();
    state.apply([workload("old", 1, &[]), workload("new", 1, &[])]);
    assert_eq!(holder(&state, 1).as_deref(), Some("new"));
    state.apply([Change::AddressGone("old".into())]);
    assert_eq!(holder(&state, 1).as_deref(), Some("new"));
    state.apply([workload("new", 2, &[])]);
    assert_eq!(holder(&state, 1), None);
    assert_eq!(holder(&state, 2).as_deref(), Some("new"));
}

#[test]
fn an_address_of_a_node_is_the_nodes_and_no_workloads() {
    let state = MeshState::default();
    let node = |state: &MeshState| state.read().node_by_ip("", ip(1)).map(str::to_owned);
    state.apply([workload("pod", 1, &[]), host_network("host", 1)]);
    assert_eq!(holder(&state, 1).as_deref(), Some("pod"));
    assert_eq!(node(&state), None);
    state.apply([
        Change::AddressGone("pod".into()),
        host_network("another", 1),
    ]);
    assert_eq!(holder(&state, 1), None);
    assert_eq!(node(&state).as_deref(), Some("node-1"));
    assert_eq!(state.read().node_by_ip("", ip(2)), None);
}

#[test]
fn networks_are_apart() {
    let state = MeshState::default();
    state.apply([workload("a", 1, &[])]);
    assert!(state.read().workload_by_ip("elsewhere", ip(1)).is_none());
}

#[test]
fn endpoints_follow_their_workloads_whichever_comes_first() {
    let state = MeshState::default();
    let name = ServiceName::parse("shop/cart").unwrap();
    state.apply([workload("a", 1, &["shop/cart"]), service("cart", 1)]);
    assert_eq!(state.read().endpoints(&name).count(), 1);
    state.apply([workload("a", 1, &[])]);
    assert_eq!(state.read().endpoints(&name).count(), 0);
    state.apply([
        workload("a", 1, &["shop/cart"]),
        Change::AddressGone("shop/cart".into()),
    ]);
    assert!(state.read().service(&name).is_none());
    state.apply([service("cart", 1)]);
    assert_eq!(state.read().endpoints(&name).count(), 1);
}

#[test]
fn a_vip_given_on_survives_its_old_service() {
    let state = MeshState::default();
    state.apply([
        service("old", 1),
        service("new", 1),
        Change::AddressGone("shop/old".into()),
    ]);
    let found = state
        .read()
        .service_by_vip("", [10, 96, 0, 1].into())
        .map(|s| s.name.clone());
    assert_eq!(found.as_deref(), Some("new"));
}

#[test]
fn policies_are_found_by_scope_and_by_selection() {
    let state = MeshState::default();
    state.apply([
        workload("a", 1, &[]),
        policy("all", Scope::Global),
        policy("ns", Scope::Namespace),
    ]);
    state.apply([policy("other", Scope::Selected)]);
    let read = state.read();
    let missing = read.policies_for(read.workload("a").unwrap());
    assert_eq!(missing.unwrap_err(), "shop/chosen");
    drop(read);

    state.apply([
        policy("chosen", Scope::Selected),
        Change::PolicyGone("shop/ns".into()),
    ]);
    let read = state.read();
    let mut names: Vec<_> = read
        .policies_for(read.workload("a").unwrap())
        .unwrap()
        .iter()
        .map(|policy| policy.name.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["shop/all", "shop/chosen"]);
}

#[test]
fn a_policy_that_changes_scope_leaves_the_old_one() {
    let state = MeshState::default();
    state.apply([workload("a", 1, &[]), policy("chosen", Scope::Global)]);
    state.apply([policy("chosen", Scope::Selected)]);
    let read = state.read();
    assert_eq!(
        read.policies_for(read.workload("a").unwrap())
            .unwrap()
            .len(),
        1
    );
}
