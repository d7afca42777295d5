use tulle_wire::zds::KeepWorkload;

use super::*;
use crate::Answer;

fn received(bytes: &[u8], descriptors: Result<Vec<OwnedFd>, MessageError>) -> Numbered {
    Numbered::decode(Received {
        bytes: bytes.to_vec(),
        descriptors,
    })
}

fn read(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Request, MessageError> {
    received(bytes, Ok(descriptors)).request
}

fn fd() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn add_of(account: &str) -> Vec<u8> {
    let pod = Pod {
        uid: "u1".into(),
        name: "web-0".into(),
        namespace: "shop".into(),
        service_account: account.into(),
    };
    add(0, &pod)
}

#[test]
fn requests_are_understood() {
    let Request::Add(pod, _) = read(&add_of("web"), vec![fd()]).unwrap() else {
        panic!()
    };
    assert_eq!(
        (
            pod.uid.as_str(),
            pod.name.as_str(),
            pod.service_account.as_str()
        ),
        ("u1", "web-0", "web")
    );
    let del = delete(0, "u1");
    // uid has field number 2 here, unlike in its siblings.
    assert_eq!(del, [0x12, 0x04, 0x12, 0x02, b'u', b'1']);
    assert!(matches!(read(&del, vec![]), Ok(Request::Delete { uid }) if uid == "u1"));
    let keep = encode(0, Payload::Keep(KeepWorkload { uid: "u1".into() }));
    assert!(matches!(read(&keep, vec![]), Ok(Request::Keep { uid }) if uid == "u1"));
    assert!(matches!(
        read(&snapshot_sent(0), vec![]),
        Ok(Request::SnapshotSent)
    ));
}

#[test]
fn malformed_requests_are_refused() {
    assert_eq!(read(&[], vec![]).unwrap_err(), MessageError::Unknown);
    assert!(matches!(
        read(&[0xff; 9], vec![]),
        Err(MessageError::Decode(_))
    ));
    assert_eq!(
        read(&add_of("web"), vec![]).unwrap_err(),
        MessageError::Descriptors(0, "1 or 4")
    );
    assert_eq!(
        read(&add_of("web"), vec![fd(), fd()]).unwrap_err(),
        MessageError::Descriptors(2, "1 or 4")
    );
    assert_eq!(
        read(&add_of(""), vec![fd()]).unwrap_err(),
        MessageError::Empty("service_account")
    );
    let del = delete(0, "");
    assert_eq!(read(&del, vec![]).unwrap_err(), MessageError::Empty("uid"));
    assert!(matches!(
        read(&del, vec![fd()]),
        Err(MessageError::Descriptors(1, "none"))
    ));
    let bare = encode(
        0,
        Payload::Add(AddWorkload {
            uid: "u".into(),
            workload_info: None,
        }),
    );
    assert_eq!(
        read(&bare, vec![fd()]).unwrap_err(),
        MessageError::Empty("workload_info")
    );
}

#[test]
fn r31_a_pod_comes_with_its_namespace_alone_or_with_three_listeners() {
    let listeners = |count| {
        let descriptors = (0..count).map(|_| fd()).collect();
        match read(&add_of("web"), descriptors) {
            Ok(Request::Add(_, handed)) => Ok(handed.listeners.is_some()),
            Ok(other) => panic!("{other:?}"),
            Err(err) => Err(err),
        }
    };
    assert_eq!((listeners(1), listeners(4)), (Ok(false), Ok(true)));
    for count in [0, 2, 3, 5] {
        let refused = Err(MessageError::Descriptors(count, "1 or 4"));
        assert_eq!(listeners(count), refused);
    }
}

#[test]
fn r38_an_answer_repeats_the_number_and_one_without_is_what_older_agents_know() {
    let del = |number| {
        let unfit = Err(MessageError::NoDescriptors);
        received(&delete(number, "u1"), unfit).number
    };
    assert_eq!((del(0), del(7)), (None, NonZeroU64::new(7)));
    let ack = |number: Option<NonZeroU64>| {
        let number = number.map_or(0, NonZeroU64::get);
        let outcome = Ok(());
        Answer { number, outcome }.encode()
    };
    // Field 1000: 7, after field 1.
    assert_eq!(ack(del(7)), [0x0a, 0x00, 0xc0, 0x3e, 0x07]);
    assert_eq!(ack(del(0)), [0x0a, 0x00]);
}

#[test]
fn r28_random_bytes_never_panic() {
    for seed in [28, fastrand::u64(..)] {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let good = add_of("web");
        let mut pods = 0;
        for round in 0..50_000 {
            let mut bytes = if round % 2 == 0 {
                good.clone()
            } else {
                vec![0; random.usize(..64)]
            };
            for byte in &mut bytes {
                if round % 2 == 1 || random.u8(..10) == 0 {
                    *byte = random.u8(..);
                }
            }
            let descriptors = (0..random.usize(..6)).map(|_| fd()).collect();
            if let Ok(Request::Add(pod, _)) = read(&bytes, descriptors) {
                assert!(!pod.uid.is_empty() && !pod.namespace.is_empty());
                pods += 1;
            }
        }
        assert!(pods > 100, "damaged messages that are still a pod: {pods}");
    }
}
