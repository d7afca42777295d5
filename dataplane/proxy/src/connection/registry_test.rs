use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

/// A connection that is carried in plaintext, and what moves on it.
fn plaintext(registry: &Registry, peer: SocketAddr) -> (Registered, Traffic) {
    let (registered, traffic) = (registry.register(None), Traffic::default());
    registered.in_plaintext(peer, &traffic);
    (registered, traffic)
}

#[tokio::test(start_paused = true)]
async fn only_what_goes_to_the_mesh_in_plaintext_counts_and_only_while_it_is_open() {
    let registry = Registry::default();
    let inside = plaintext(&registry, at(1));
    let _outside = plaintext(&registry, at(2));
    let _tunnelled = registry.register(None);
    assert_eq!(registry.existing(|_| false), 0);
    assert_eq!(registry.existing(|_| true), 2);
    assert_eq!(registry.existing(|to| to == at(1)), 1);
    drop(inside);
    assert_eq!(registry.existing(|to| to == at(1)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_one_is_ended_and_a_busy_one_is_not() {
    let registry = Registry::default();
    let (mut quiet, _) = plaintext(&registry, at(1));
    let (mut moving, traffic) = plaintext(&registry, at(1));
    assert_eq!(
        registry.end_existing(seconds(1), |_| true),
        0,
        "not quiet so long"
    );
    pass(SECOND).await;
    traffic.response.connection.inc();
    assert_eq!(
        registry.end_existing(seconds(1), |_| false),
        0,
        "not in the mesh"
    );
    assert_eq!(registry.end_existing(seconds(1), |_| true), 1);
    assert!(matches!(quiet.ended.try_recv(), Ok(Broken::Ended)));
    assert!(moving.ended.try_recv().is_err());
    assert_eq!(registry.existing(|_| true), 1);
    pass(SECOND).await;
    assert_eq!(
        registry.end_existing(seconds(1), |_| true),
        1,
        "quiet since"
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_in_hand_are_not_quiet() {
    let registry = Registry::default();
    let (_registered, traffic) = plaintext(&registry, at(1));
    let request = &traffic.request;
    request.taken(0);
    pass(SECOND).await;
    assert_eq!(registry.end_existing(seconds(1), |_| true), 0);
    request.passed_on();
    pass(SECOND).await;
    assert_eq!(registry.end_existing(seconds(1), |_| true), 1);
}

#[tokio::test(start_paused = true)]
async fn force_waits_for_nothing() {
    let registry = Registry::default();
    let (mut registered, traffic) = plaintext(&registry, at(1));
    traffic.request.connection.inc();
    assert_eq!(registry.end_existing(None, |_| true), 1);
    assert!(matches!(registered.ended.try_recv(), Ok(Broken::Forced)));
    assert_eq!(registry.existing(|_| true), 0);
    assert_eq!(registry.end_existing(None, |_| true), 0, "it has been told");
}

fn question(port: u16) -> Question {
    let connection = policy::Connection {
        source: None,
        source_ip: at(1).ip(),
        destination_ip: at(2).ip(),
        destination_port: port,
        exempt_from: vec![],
    };
    Question {
        own: at(2).ip(),
        connection,
    }
}

fn basis(decision_changes: u64) -> Basis {
    Basis {
        decision_changes,
        workload: None,
    }
}

#[tokio::test]
async fn a_review_ends_what_is_denied_now_however_it_is_carried() {
    let registry = Registry::default();
    let mut tunnelled = registry.register(Some(question(80)));
    let mut plain = registry.register(Some(question(80)));
    plain.in_plaintext(at(1), &Traffic::default());
    let mut allowed = registry.register(Some(question(81)));
    let _never_asked = registry.register(None);
    registry.review(basis(1), |asked| asked.connection.destination_port == 80);
    for denied in [&mut tunnelled, &mut plain] {
        assert!(matches!(denied.ended().await, Broken::Denied));
    }
    assert!(allowed.ended.try_recv().is_err());
    assert_eq!(registry.existing(|_| true), 0, "it is ending");
}

#[test]
fn nothing_is_asked_again_while_the_answer_would_be_the_same() {
    let registry = Registry::default();
    let asked = std::cell::Cell::new(0);
    let review = |changes| {
        registry.review(basis(changes), |_| {
            asked.set(asked.get() + 1);
            false
        });
    };
    review(1);
    let _registered = registry.register(Some(question(80)));
    review(1);
    assert_eq!(asked.get(), 1, "without connections nothing was asked");
    review(1);
    assert_eq!(asked.get(), 1);
    review(2);
    assert_eq!(asked.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_and_then_ends() {
    let registry = Registry::default();
    registry.spawn(tokio::time::sleep(Duration::from_secs(5)));
    registry.spawn(std::future::pending());
    let started = Instant::now();
    assert_eq!(registry.drain(Duration::from_secs(30)).await, 1);
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    assert_eq!(registry.served(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_ends_with_the_last_connection() {
    let registry = Registry::default();
    registry.spawn(tokio::time::sleep(Duration::from_secs(5)));
    let started = Instant::now();
    assert_eq!(registry.drain(Duration::from_secs(30)).await, 0);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}
