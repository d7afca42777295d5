//! Pods that get no certificate, and those beside them.
use std::time::{Duration, Instant};

use tulle_names::HBONE_PORT;

use crate::harness::control::Unsigned;
use crate::harness::http::get_port;
use crate::harness::pod::Pod;
use crate::harness::{Mesh, eventually};

/// Far less than the proxy waits for a certificate.
const AT_ONCE: Duration = Duration::from_secs(3);

fn readiness(mesh: &Mesh) -> u16 {
    let page = get_port(&mesh.network.host, 15021, "/healthz/ready");
    page.unwrap().0
}

fn pods<const COUNT: usize>(mesh: &mut Mesh, names: [&str; COUNT]) -> [Pod; COUNT] {
    names.map(|name| mesh.outsider(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_refused_certificate_ends_the_wait_for_it_at_once() {
    let mut mesh = Mesh::start().await;
    let [bad] = pods(&mut mesh, ["bad"]);
    mesh.control.leave_unsigned(&bad, Unsigned::Refused);
    let began = Instant::now();
    mesh.conversation.begin_add(&bad, 1);
    let (number, ack) = mesh.conversation.answer();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!((number, ack.definite), (1, true));
    assert!(ack.error.contains("PermissionDenied"), "{}", ack.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_pods_that_wait_for_a_certificate_delay_no_other() {
    let mut mesh = Mesh::start().await;
    let [slow, slower, slowest, good] = pods(&mut mesh, ["slow", "slower", "slowest", "good"]);
    let waiting = [&slow, &slower, &slowest];
    for (number, pod) in (1..).zip(waiting) {
        mesh.control.leave_unsigned(pod, Unsigned::Unanswered);
        mesh.conversation.begin_add(pod, number);
    }
    let began = Instant::now();
    mesh.conversation.begin_add(&good, 4);
    let (number, ack) = mesh.conversation.answer();
    assert_eq!((number, ack.error.as_str()), (4, ""));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let mut late = waiting.map(|_| mesh.conversation.answer());
    late.sort_by_key(|(number, _)| *number);
    for (number, ack) in late {
        assert!((1..=3).contains(&number) && ack.error.contains("no certificate"));
        assert!(!ack.definite, "it may come yet");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_whether_the_certificate_is_missing_and_whether_it_may_come() {
    let mut mesh = Mesh::start().await;
    let [refused, late, taken] = pods(&mut mesh, ["refused", "late", "taken"]);
    mesh.control.leave_unsigned(&refused, Unsigned::Refused);
    mesh.control.leave_unsigned(&late, Unsigned::Unanswered);
    let port = (std::net::Ipv4Addr::UNSPECIFIED, HBONE_PORT);
    let _its_own = taken.ns.run(|| std::net::TcpListener::bind(port)).unwrap();
    for (number, pod) in (1..).zip([&refused, &late, &taken]) {
        mesh.conversation.begin_add(pod, number);
    }
    let mut answers = [0; 3].map(|_| mesh.conversation.answer());
    answers.sort_by_key(|(number, _)| *number);
    let told = answers.map(|(_, ack)| (ack.no_certificate, ack.definite));
    assert_eq!(told, [(true, true), (true, false), (false, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_refused_pod_leaves_the_proxy_ready() {
    let mut mesh = Mesh::start().await;
    let [bad, good] = pods(&mut mesh, ["bad", "good"]);
    mesh.control.leave_unsigned(&bad, Unsigned::Refused);
    mesh.conversation.add(&bad).unwrap_err();
    mesh.conversation.add(&good).unwrap();
    mesh.conversation.snapshot_sent().unwrap();
    assert_eq!(readiness(&mesh), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_proxy_that_is_refused_every_certificate_is_not_ready() {
    let mut mesh = Mesh::start().await;
    mesh.control.refuse_to_sign(true);
    let [one, other] = pods(&mut mesh, ["one", "other"]);
    mesh.conversation.add(&one).unwrap_err();
    mesh.conversation.add(&other).unwrap_err();
    mesh.conversation.snapshot_sent().unwrap();
    assert_eq!(
        readiness(&mesh),
        503,
        "else it would replace one that serves"
    );
    mesh.control.refuse_to_sign(false);
    mesh.conversation.add(&other).unwrap();
    assert_eq!(readiness(&mesh), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_proxy_is_not_ready_before_the_pods_it_was_told_of_are_tried() {
    let mut mesh = Mesh::start().await;
    let [slow] = pods(&mut mesh, ["slow"]);
    mesh.control.leave_unsigned(&slow, Unsigned::Unavailable);
    mesh.conversation.begin_add(&slow, 1);
    mesh.conversation.begin_snapshot_sent(2);
    assert_eq!(mesh.conversation.answer().0, 2);
    assert_eq!(readiness(&mesh), 503, "under way");
    assert_eq!(mesh.conversation.answer().0, 1);
    assert_eq!(readiness(&mesh), 503, "a certificate could not be had");
    mesh.control.sign_again(&slow);
    mesh.conversation.add(&slow).unwrap();
    assert_eq!(readiness(&mesh), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn r38_a_proxy_that_has_taken_over_stays_ready_whatever_a_later_pod_lacks() {
    let mut mesh = Mesh::start().await;
    mesh.conversation.snapshot_sent().unwrap();
    eventually("ready", || (readiness(&mesh) == 200).then_some(())).await;
    let [late] = pods(&mut mesh, ["late"]);
    mesh.control.leave_unsigned(&late, Unsigned::Unavailable);
    mesh.conversation.add(&late).unwrap_err();
    assert_eq!(readiness(&mesh), 200);
}
