use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all, pending};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;

/// A tunnel that takes so many streams.
struct Fake(usize);

impl Carrier for Fake {
    fn limit(&self) -> usize {
        self.0
    }
}

type Error = &'static str;
type FakeSlots = Arc<Slots<&'static str, Fake, Error>>;
type Dialled = Result<(Fake, Driver<&'static str, Fake, Error>), Error>;

const PEER: &str = "peer";
const LONG: Duration = Duration::from_secs(3600);

/// Dials by the plan: each gives the next of what it says, and none once that is used up. A tunnel
/// ends when `ends` is given a permit.
struct Dials {
    slots: FakeSlots,
    plan: Mutex<Vec<Planned>>,
    count: AtomicUsize,
    ends: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Planned {
    Opens(usize),
    OpensAfter(Duration),
    FailsAfter(Duration),
    Hangs,
}

impl Dials {
    fn planned(plan: &[Planned]) -> Self {
        Self {
            slots: Slots::new(2),
            plan: Mutex::new(plan.iter().rev().copied().collect()),
            count: AtomicUsize::default(),
            ends: Arc::new(Semaphore::new(0)),
        }
    }

    fn dial(&self) -> BoxFuture<'static, Dialled> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let planned = lock(&self.plan).pop().unwrap();
        let ends = self.ends.clone();
        let driver: Driver<_, _, _> = Box::new(move |member: Member<_, _, _>| {
            async move {
                let _ended = ends.acquire().await;
                drop(member);
            }
            .boxed()
        });
        async move {
            match planned {
                Planned::Opens(limit) => Ok((Fake(limit), driver)),
                Planned::OpensAfter(time) => {
                    tokio::time::sleep(time).await;
                    Ok((Fake(100), driver))
                }
                Planned::FailsAfter(time) => {
                    tokio::time::sleep(time).await;
                    Err("refused")
                }
                Planned::Hangs => pending().await,
            }
        }
        .boxed()
    }

    async fn lease(&self) -> Result<Lease<Fake>, Arc<Error>> {
        let leased = self.slots.lease(&PEER, |_| true, || self.dial()).await;
        leased.map(|(lease, _)| lease)
    }

    /// A lease that must be had without waiting.
    fn at_once(&self) -> Lease<Fake> {
        self.lease().now_or_never().unwrap().unwrap()
    }

    fn dials(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn slots(&self) -> usize {
        lock(&self.slots.slots).len()
    }
}

#[tokio::test(start_paused = true)]
async fn r38_who_finds_room_waits_for_no_dial() {
    let dials = Dials::planned(&[Planned::Opens(100), Planned::Hangs]);
    let mut held = vec![dials.lease().await.unwrap()];
    for _ in 0..20 {
        held.push(dials.at_once());
    }
    assert_eq!(dials.dials(), 2, "the second runs beside");
}

#[tokio::test(start_paused = true)]
async fn r38_all_who_wait_share_one_dial_and_its_error() {
    let second = Duration::from_secs(1);
    let dials = Dials::planned(&[
        Planned::FailsAfter(second),
        Planned::OpensAfter(second),
        Planned::Hangs,
    ]);
    let began = Instant::now();
    let failed = join_all((0..50).map(|_| dials.lease())).await;
    assert!(failed.iter().all(|lease| lease.is_err()));
    assert_eq!((dials.dials(), began.elapsed()), (1, second));
    assert_eq!(dials.slots(), 0, "who cannot be reached leaves nothing");
    let opened = join_all((0..50).map(|_| dials.lease())).await;
    assert!(opened.iter().all(|lease| lease.is_ok()));
    assert_eq!(began.elapsed(), 2 * second);
    assert_eq!(dials.dials(), 3, "the last runs beside, as it is crowded");
}

#[tokio::test(start_paused = true)]
async fn r38_a_dial_goes_on_when_nobody_waits_any_more() {
    let dials = Dials::planned(&[Planned::OpensAfter(Duration::from_secs(3))]);
    let waiting = join_all((0..50).map(|_| timeout(Duration::from_secs(1), dials.lease())));
    assert!(waiting.await.iter().all(Result::is_err));
    let lease = dials.lease().await.unwrap();
    assert_eq!(dials.dials(), 1);
    assert_eq!(lease.usage(), (true, 1), "who gave up holds no place");
    drop(lease);
    dials.ends.add_permits(1);
    tokio::task::yield_now().await;
    assert_eq!(dials.slots(), 0);
}

#[tokio::test(start_paused = true)]
async fn r38_a_failed_dial_that_nobody_waits_for_leaves_nothing() {
    let dials = Dials::planned(&[Planned::FailsAfter(Duration::from_secs(3))]);
    assert!(
        timeout(Duration::from_secs(1), dials.lease())
            .await
            .is_err()
    );
    assert_eq!(dials.slots(), 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(dials.slots(), 0);
}

#[tokio::test(start_paused = true)]
async fn r38_room_that_comes_free_is_had_by_who_waits_for_a_dial() {
    let dials = Dials::planned(&[Planned::Opens(2), Planned::Hangs]);
    let (first, second) = (dials.lease().await.unwrap(), dials.at_once());
    let waiting = async { tokio::join!(dials.lease(), dials.lease()) };
    let freeing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop((first, second));
    };
    let ((one, other), ()) = timeout(LONG, async { tokio::join!(waiting, freeing) })
        .await
        .unwrap();
    assert!(one.is_ok() && other.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_crowded_tunnel_is_dialled_beside_once_a_second_at_most() {
    let fails = Planned::FailsAfter(Duration::ZERO);
    let dials = Dials::planned(&[Planned::Opens(100), fails, fails]);
    let mut held = vec![dials.lease().await.unwrap()];
    for _ in 0..20 {
        held.push(dials.at_once());
        tokio::task::yield_now().await;
    }
    assert_eq!(dials.dials(), 2);
    tokio::time::sleep(REST).await;
    held.push(dials.at_once());
    assert_eq!(dials.dials(), 3);
}

#[tokio::test(start_paused = true)]
async fn r38_a_stalled_tunnel_is_left_to_those_it_has_while_another_can_be_had() {
    let dials = Dials::planned(&[Planned::Opens(100), Planned::Opens(100), Planned::Hangs]);
    let first = dials.lease().await.unwrap();
    first.waiting.fetch_add(1, Ordering::Relaxed);
    let second = dials.lease().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    second.answers(false);
    let began = Instant::now();
    let third = dials.lease().await.unwrap();
    assert_eq!(began.elapsed(), STALLED_PATIENCE, "none came");
    assert!(Arc::ptr_eq(&third, &first) || Arc::ptr_eq(&third, &second));
    second.answers(true);
    assert!(Arc::ptr_eq(&dials.at_once(), &second));
}

#[tokio::test(start_paused = true)]
async fn a_dial_ends_with_the_pod() {
    let dials = Dials::planned(&[Planned::Hangs]);
    assert!(timeout(LONG, dials.lease()).await.is_err());
    let task = {
        let slots = lock(&dials.slots.slots);
        let Dial::Running(running) = &slots[PEER].dial else {
            panic!("no dial is running");
        };
        running.outcome.clone()
    };
    drop(dials);
    tokio::task::yield_now().await;
    assert!(task.has_changed().is_err());
}
