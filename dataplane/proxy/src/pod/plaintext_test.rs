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

#[tokio::test(start_paused = true)]
async fn only_what_goes_to_the_mesh_counts_and_only_while_it_is_open() {
    let (plaintext, traffic) = (Plaintext::default(), Traffic::default());
    let inside = plaintext.watch(at(1), &traffic);
    let _outside = plaintext.watch(at(2), &traffic);
    assert_eq!(plaintext.older(|_| false), 0);
    assert_eq!(plaintext.older(|to| to == at(1)), 1);
    drop(inside);
    assert_eq!(plaintext.older(|to| to == at(1)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_one_is_ended_and_a_busy_one_is_not() {
    let plaintext = Plaintext::default();
    let (idle, busy) = (Traffic::default(), Traffic::default());
    let mut quiet = plaintext.watch(at(1), &idle);
    let mut moving = plaintext.watch(at(1), &busy);
    assert_eq!(plaintext.end(seconds(1), |_| true), 0, "not quiet so long");
    pass(SECOND).await;
    busy.response.connection.inc();
    assert_eq!(plaintext.end(seconds(1), |_| false), 0, "not in the mesh");
    assert_eq!(plaintext.end(seconds(1), |_| true), 1);
    assert!(matches!(quiet.ended.try_recv(), Ok(Broken::Ended)));
    assert!(moving.ended.try_recv().is_err());
    assert_eq!(plaintext.older(|_| true), 1);
    pass(SECOND).await;
    assert_eq!(plaintext.end(seconds(1), |_| true), 1, "quiet since");
}

#[tokio::test(start_paused = true)]
async fn bytes_in_hand_are_not_quiet() {
    let (plaintext, traffic) = (Plaintext::default(), Traffic::default());
    let _watched = plaintext.watch(at(1), &traffic);
    traffic.request.taken(0);
    pass(SECOND).await;
    assert_eq!(plaintext.end(seconds(1), |_| true), 0);
    traffic.request.passed_on();
    pass(SECOND).await;
    assert_eq!(plaintext.end(seconds(1), |_| true), 1);
}

#[tokio::test(start_paused = true)]
async fn force_waits_for_nothing() {
    let (plaintext, traffic) = (Plaintext::default(), Traffic::default());
    let mut watched = plaintext.watch(at(1), &traffic);
    traffic.request.connection.inc();
    assert_eq!(plaintext.end(None, |_| true), 1);
    assert!(matches!(watched.ended.try_recv(), Ok(Broken::Forced)));
    assert_eq!(plaintext.older(|_| true), 0);
}
