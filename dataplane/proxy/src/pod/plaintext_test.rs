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
    let (plaintext, meter) = (Plaintext::default(), Meter::default());
    let inside = plaintext.watch(at(1), &meter, &meter);
    let _outside = plaintext.watch(at(2), &meter, &meter);
    assert_eq!(plaintext.older(|_| false), 0);
    assert_eq!(plaintext.older(|to| to == at(1)), 1);
    drop(inside);
    assert_eq!(plaintext.older(|to| to == at(1)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_one_is_ended_and_a_busy_one_is_not() {
    let plaintext = Plaintext::default();
    let (idle, busy) = (Meter::default(), Meter::default());
    let mut quiet = plaintext.watch(at(1), &idle, &idle);
    let mut moving = plaintext.watch(at(1), &idle, &busy);
    assert_eq!(plaintext.end(seconds(1), |_| true), 0, "not quiet so long");
    pass(SECOND).await;
    busy.connection.inc();
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
    let (plaintext, meter) = (Plaintext::default(), Meter::default());
    let watched = plaintext.watch(at(1), &meter, &meter);
    watched.traffic.in_hand.fetch_add(1, Ordering::AcqRel);
    pass(SECOND).await;
    assert_eq!(plaintext.end(seconds(1), |_| true), 0);
    watched.traffic.in_hand.fetch_sub(1, Ordering::AcqRel);
    pass(SECOND).await;
    assert_eq!(plaintext.end(seconds(1), |_| true), 1);
}

#[tokio::test(start_paused = true)]
async fn force_waits_for_nothing() {
    let (plaintext, meter) = (Plaintext::default(), Meter::default());
    let mut watched = plaintext.watch(at(1), &meter, &meter);
    meter.connection.inc();
    assert_eq!(plaintext.end(None, |_| true), 1);
    assert!(matches!(watched.ended.try_recv(), Ok(Broken::Forced)));
    assert_eq!(plaintext.older(|_| true), 0);
}
