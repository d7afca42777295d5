use std::path::Path;

use tulle_zds::Pod as NamedPod;

use super::*;
use crate::netns::Netns;

const TAKES_LISTENERS: Hello = Hello {
    takes_listeners: true,
    answers_in_any_order: true,
};

fn handover(namespace: &str) -> Handover {
    let namespace = Netns::open(Path::new(&format!("/proc/self/ns/{namespace}"))).unwrap();
    Handover {
        pod: NamedPod::default(),
        namespace,
        listeners: None,
    }
}

fn refused(message: &str) -> Refusal {
    Refusal::from(message.to_owned())
}

/// Does what the connection should do next; returns it in words.
fn act(proxies: &Proxies, id: ConnectionId, outcome: Result<(), Refusal>) -> Option<String> {
    match proxies.next(id)? {
        Action::Add { uid, attempt, .. } => {
            proxies.added(id, &uid, attempt, outcome);
            Some(format!("add {uid}"))
        }
        Action::Del { uid } => {
            proxies.deleted(id, &uid);
            Some(format!("del {uid}"))
        }
    }
}

#[test]
fn every_proxy_gets_every_pod_and_learns_of_removals() {
    let proxies = Proxies::default();
    proxies.add("a", handover("net"));
    assert_eq!(proxies.serving("a"), Serving::NoProxy);
    let older = proxies.connect(None, TAKES_LISTENERS);
    assert_eq!(proxies.serving("a"), Serving::Waiting);
    assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("add a"));
    assert_eq!(proxies.serving("a"), Serving::Served);

    let newer = proxies.connect(None, TAKES_LISTENERS);
    proxies.add("b", handover("net"));
    assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("add b"));
    assert_eq!(act(&proxies, older, Ok(())), None);
    assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add a"));
    assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add b"));
    proxies.remove("a");
    assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("del a"));
    assert!(proxies.is_held("a"));
    assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("del a"));
    assert!(!proxies.is_held("a"));
}

#[test]
fn when_the_newest_goes_the_one_before_is_the_newest() {
    let proxies = Proxies::default();
    proxies.connect(Some(1), TAKES_LISTENERS);
    let newer = proxies.connect(Some(2), TAKES_LISTENERS);
    assert_eq!(proxies.newest_pid(), Some(2));
    proxies.disconnect(newer);
    assert_eq!(proxies.newest_pid(), Some(1));
}

#[test]
fn a_refused_pod_is_handed_over_again_only_when_it_is_added_again() {
    let proxies = Proxies::default();
    let proxy = proxies.connect(None, TAKES_LISTENERS);
    proxies.add("a", handover("net"));
    act(&proxies, proxy, Err(refused("no certificate")));
    assert_eq!(
        proxies.serving("a"),
        Serving::Refused(refused("no certificate"))
    );
    assert_eq!(act(&proxies, proxy, Ok(())), None);
    proxies.add("a", handover("net"));
    assert_eq!(proxies.serving("a"), Serving::Waiting);
    assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("add a"));
    assert_eq!(proxies.serving("a"), Serving::Served);
    proxies.add("a", handover("net"));
    assert_eq!(
        act(&proxies, proxy, Ok(())),
        None,
        "what was accepted is not sent again"
    );
}

#[test]
fn another_namespace_of_the_same_pod_is_taken_back_and_handed_over_anew() {
    let proxies = Proxies::default();
    let proxy = proxies.connect(None, TAKES_LISTENERS);
    proxies.add("a", handover("net"));
    act(&proxies, proxy, Ok(()));
    proxies.add("a", handover("mnt"));
    assert_eq!(proxies.serving("a"), Serving::Waiting);
    assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("del a"));
    assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("add a"));
}

#[test]
fn r38_pods_are_asked_for_side_by_side_and_each_once_at_a_time() {
    let proxies = Proxies::default();
    let proxy = proxies.connect(None, TAKES_LISTENERS);
    for uid in ["a", "b"] {
        proxies.add(uid, handover("net"));
    }
    let asked = [0, 1].map(|_| match proxies.next(proxy) {
        Some(Action::Add { uid, attempt, .. }) => (uid, attempt),
        other => panic!("{other:?}"),
    });
    assert_eq!(asked.each_ref().map(|(uid, _)| uid.as_str()), ["a", "b"]);
    proxies.remove("b");
    assert!(proxies.next(proxy).is_none(), "b's answer is waited for");
    assert!(proxies.is_held("b"), "it may be, by now");
    let [(a, of_a), (b, of_b)] = asked;
    proxies.added(proxy, &b, of_b, Ok(()));
    assert_eq!(act(&proxies, proxy, Ok(())).as_deref(), Some("del b"));
    assert_eq!(proxies.serving("a"), Serving::Waiting);
    proxies.added(proxy, &a, of_a, Ok(()));
    assert_eq!(proxies.serving("a"), Serving::Served);
}

#[test]
fn r38_a_new_proxy_that_is_broken_does_not_stand_between_new_pods_and_a_healthy_one() {
    let proxies = Proxies::default();
    let older = proxies.connect(None, TAKES_LISTENERS);
    let newer = proxies.connect(None, TAKES_LISTENERS);
    proxies.add("a", handover("net"));
    let bad = || Err(refused("broken"));
    assert_eq!(act(&proxies, newer, bad()).as_deref(), Some("add a"));
    assert_eq!(proxies.serving("a"), Serving::Waiting, "for the older one");
    assert_eq!(act(&proxies, older, Ok(())).as_deref(), Some("add a"));
    assert_eq!(proxies.serving("a"), Serving::Served);
    proxies.add("a", handover("net"));
    assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add a"));
    assert_eq!(act(&proxies, older, Ok(())), None, "it has the pod");
}

#[test]
fn r38_a_pod_is_refused_once_all_refuse_it_and_for_good_where_all_say_so() {
    let proxies = Proxies::default();
    let [older, newer] = [0, 1].map(|_| proxies.connect(None, TAKES_LISTENERS));
    let refusal = |message: &str, definite| Refusal {
        message: message.into(),
        reason: match definite {
            true => RefusalReason::IdentityRefused,
            false => RefusalReason::NoCertificate,
        },
    };
    proxies.add("a", handover("net"));
    act(&proxies, newer, Err(refusal("no such identity", true)));
    assert_eq!(proxies.serving("a"), Serving::Waiting);
    act(&proxies, older, Err(refusal("not in time", false)));
    let so_far = refusal("no such identity", false);
    assert_eq!(proxies.serving("a"), Serving::Refused(so_far));
    proxies.disconnect(older);
    let for_good = refusal("no such identity", true);
    assert_eq!(proxies.serving("a"), Serving::Refused(for_good));
}

#[test]
fn r31_proxies_of_two_kinds_do_not_get_the_same_new_pod() {
    let proxies = Proxies::default();
    let older = proxies.connect(None, TAKES_LISTENERS);
    let foreign = Hello {
        takes_listeners: false,
        answers_in_any_order: false,
    };
    let newer = proxies.connect(None, foreign);
    proxies.add("a", handover("net"));
    assert_eq!(act(&proxies, older, Ok(())), None);
    assert_eq!(act(&proxies, newer, Ok(())).as_deref(), Some("add a"));
}
