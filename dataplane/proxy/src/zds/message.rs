//! ZDS messages, checked as they come in.
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use prost::Message;
use tulle_wire::zds::workload_request::Payload;
use tulle_wire::zds::workload_response::Payload as Answer;
use tulle_wire::zds::{Ack, Version, WorkloadRequest, WorkloadResponse, ZdsHello};

/// Receive buffer, bytes. Longer messages are refused.
pub const MAX_MESSAGE: usize = 1024;

/// A pod as the agent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's UID.
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
}

/// What comes with a pod, as descriptors in this order.
#[derive(Debug)]
pub struct Handed {
    /// Its network namespace.
    pub netns: OwnedFd,
    /// Listening sockets there for outbound, plaintext and HBONE, in this order. An agent that
    /// does not hold them sends none, and the proxy opens its own.
    pub listeners: Option<[OwnedFd; 3]>,
}

/// A request and the number its answer repeats. None: the agent waits for the answer before it asks
/// for anything else.
#[derive(Debug)]
pub struct Numbered {
    pub number: Option<NonZeroU64>,
    /// Or why it cannot be understood.
    pub request: Result<Request, ZdsError>,
}

/// What the agent asks for.
#[derive(Debug)]
pub enum Request {
    /// Serve this pod.
    Add(Pod, Handed),
    Keep {
        uid: String,
    },
    Delete {
        uid: String,
    },
    /// Everything that is has been named since the connection began.
    SnapshotSent,
}

/// Why a message is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ZdsError {
    #[error("the message cannot be decoded: {0}")]
    Decode(String),
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("the proxy has no descriptors left to receive one")]
    NoDescriptors,
    #[error("{0} descriptors came where {1} belong")]
    Descriptors(usize, &'static str),
    #[error("the message asks for nothing this proxy knows")]
    Unknown,
    #[error("{0} is empty")]
    Empty(&'static str),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    /// The authority has refused the identity: waiting changes nothing.
    pub definite: bool,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self {
            message,
            definite: false,
        }
    }
}

impl From<ZdsError> for Refusal {
    fn from(error: ZdsError) -> Self {
        error.to_string().into()
    }
}

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    pub bytes: Vec<u8>,
    /// What came with it, or why the message cannot be used.
    pub descriptors: Result<Vec<OwnedFd>, ZdsError>,
}

/// Reads one message. Descriptors not used are closed.
pub fn parse(received: Received) -> Numbered {
    let decoded = WorkloadRequest::decode(received.bytes.as_slice());
    let number = decoded
        .as_ref()
        .map_or(0, |request: &WorkloadRequest| request.number);
    let request = received.descriptors.and_then(|descriptors| {
        let request = decoded.map_err(|err| ZdsError::Decode(err.to_string()))?;
        understand(request.payload.ok_or(ZdsError::Unknown)?, descriptors)
    });
    Numbered {
        number: NonZeroU64::new(number),
        request,
    }
}

fn understand(payload: Payload, descriptors: Vec<OwnedFd>) -> Result<Request, ZdsError> {
    match payload {
        Payload::Add(add) => {
            let handed = handed(descriptors)?;
            let info = add.workload_info.ok_or(ZdsError::Empty("workload_info"))?;
            let pod = Pod {
                uid: filled("uid", add.uid)?,
                name: filled("name", info.name)?,
                namespace: filled("namespace", info.namespace)?,
                service_account: filled("service_account", info.service_account)?,
            };
            Ok(Request::Add(pod, handed))
        }
        _ if !descriptors.is_empty() => Err(ZdsError::Descriptors(descriptors.len(), "none")),
        Payload::Keep(keep) => Ok(Request::Keep {
            uid: filled("uid", keep.uid)?,
        }),
        Payload::Del(del) => Ok(Request::Delete {
            uid: filled("uid", del.uid)?,
        }),
        Payload::SnapshotSent(_) => Ok(Request::SnapshotSent),
    }
}

fn handed(descriptors: Vec<OwnedFd>) -> Result<Handed, ZdsError> {
    match <[OwnedFd; 4]>::try_from(descriptors) {
        Ok([netns, outbound, plaintext, hbone]) => Ok(Handed {
            netns,
            listeners: Some([outbound, plaintext, hbone]),
        }),
        Err(descriptors) => match <[OwnedFd; 1]>::try_from(descriptors) {
            Ok([netns]) => Ok(Handed {
                netns,
                listeners: None,
            }),
            Err(descriptors) => Err(ZdsError::Descriptors(descriptors.len(), "1 or 4")),
        },
    }
}

fn filled(field: &'static str, value: String) -> Result<String, ZdsError> {
    if value.is_empty() {
        Err(ZdsError::Empty(field))
    } else {
        Ok(value)
    }
}

/// The proxy's first message.
pub fn hello() -> Vec<u8> {
    ZdsHello {
        version: Version::V1.into(),
        takes_listeners: true,
        answers_in_any_order: true,
    }
    .encode_to_vec()
}

/// The answer to the request of a number: done, or what went wrong.
pub fn ack(number: Option<NonZeroU64>, result: Result<(), Refusal>) -> Vec<u8> {
    let (mut error, definite) = match result {
        Ok(()) => (String::new(), false),
        Err(refusal) => (refusal.message, refusal.definite),
    };
    // The agent reads into a buffer like ours.
    let mut end = error.len().min(MAX_MESSAGE - 64);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error.truncate(end);
    WorkloadResponse {
        payload: Some(Answer::Ack(Ack { error, definite })),
        number: number.map_or(0, NonZeroU64::get),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tulle_wire::zds::{AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo};

    fn encode(payload: Payload) -> Vec<u8> {
        WorkloadRequest {
            payload: Some(payload),
            number: 0,
        }
        .encode_to_vec()
    }

    fn received(bytes: &[u8], descriptors: Result<Vec<OwnedFd>, ZdsError>) -> Numbered {
        parse(Received {
            bytes: bytes.to_vec(),
            descriptors,
        })
    }

    fn read(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Request, ZdsError> {
        received(bytes, Ok(descriptors)).request
    }

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn add(account: &str) -> Vec<u8> {
        encode(Payload::Add(AddWorkload {
            uid: "u1".into(),
            workload_info: Some(WorkloadInfo {
                name: "web-0".into(),
                namespace: "shop".into(),
                service_account: account.into(),
            }),
        }))
    }

    #[test]
    fn requests_are_understood() {
        let Request::Add(pod, _) = read(&add("web"), vec![fd()]).unwrap() else {
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
        let del = encode(Payload::Del(DelWorkload { uid: "u1".into() }));
        // uid has field number 2 here, unlike in its siblings.
        assert_eq!(del, [0x12, 0x04, 0x12, 0x02, b'u', b'1']);
        assert!(matches!(read(&del, vec![]), Ok(Request::Delete { uid }) if uid == "u1"));
        let keep = encode(Payload::Keep(KeepWorkload { uid: "u1".into() }));
        assert!(matches!(read(&keep, vec![]), Ok(Request::Keep { uid }) if uid == "u1"));
        let sent = encode(Payload::SnapshotSent(SnapshotSent {}));
        assert!(matches!(read(&sent, vec![]), Ok(Request::SnapshotSent)));
    }

    #[test]
    fn malformed_requests_are_refused() {
        assert_eq!(read(&[], vec![]).unwrap_err(), ZdsError::Unknown);
        assert!(matches!(read(&[0xff; 9], vec![]), Err(ZdsError::Decode(_))));
        assert_eq!(
            read(&add("web"), vec![]).unwrap_err(),
            ZdsError::Descriptors(0, "1 or 4")
        );
        assert_eq!(
            read(&add("web"), vec![fd(), fd()]).unwrap_err(),
            ZdsError::Descriptors(2, "1 or 4")
        );
        assert_eq!(
            read(&add(""), vec![fd()]).unwrap_err(),
            ZdsError::Empty("service_account")
        );
        let del = encode(Payload::Del(DelWorkload { uid: String::new() }));
        assert_eq!(read(&del, vec![]).unwrap_err(), ZdsError::Empty("uid"));
        assert!(matches!(
            read(&del, vec![fd()]),
            Err(ZdsError::Descriptors(1, "none"))
        ));
        let bare = encode(Payload::Add(AddWorkload {
            uid: "u".into(),
            workload_info: None,
        }));
        assert_eq!(
            read(&bare, vec![fd()]).unwrap_err(),
            ZdsError::Empty("workload_info")
        );
    }

    #[test]
    fn r31_a_pod_comes_with_its_namespace_alone_or_with_three_listeners() {
        let listeners = |count| {
            let descriptors = (0..count).map(|_| fd()).collect();
            match read(&add("web"), descriptors) {
                Ok(Request::Add(_, handed)) => Ok(handed.listeners.is_some()),
                Ok(other) => panic!("{other:?}"),
                Err(err) => Err(err),
            }
        };
        assert_eq!((listeners(1), listeners(4)), (Ok(false), Ok(true)));
        for count in [0, 2, 3, 5] {
            let refused = Err(ZdsError::Descriptors(count, "1 or 4"));
            assert_eq!(listeners(count), refused);
        }
    }

    #[test]
    fn r31_the_hello_says_that_listeners_are_taken_where_older_agents_do_not_look() {
        // Field 1: version 1. Field 1000: true; 1001, too.
        assert_eq!(hello(), [0x08, 0x01, 0xc0, 0x3e, 0x01, 0xc8, 0x3e, 0x01]);
    }

    #[test]
    fn r38_an_answer_repeats_the_number_and_one_without_is_what_older_agents_know() {
        let del = |number| {
            let payload = Some(Payload::Del(DelWorkload { uid: "u1".into() }));
            let request = WorkloadRequest { payload, number };
            let unfit = Err(ZdsError::NoDescriptors);
            received(&request.encode_to_vec(), unfit).number
        };
        assert_eq!((del(0), del(7)), (None, NonZeroU64::new(7)));
        // Field 1000: 7, after field 1.
        assert_eq!(ack(del(7), Ok(())), [0x0a, 0x00, 0xc0, 0x3e, 0x07]);
        assert_eq!(ack(del(0), Ok(())), [0x0a, 0x00]);
    }

    #[test]
    fn r28_random_bytes_never_panic() {
        for seed in [28, fastrand::u64(..)] {
            println!("seed {seed}");
            let mut random = fastrand::Rng::with_seed(seed);
            let good = add("web");
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

    #[test]
    fn errors_fit_the_agents_buffer() {
        assert!(ack(NonZeroU64::new(u64::MAX), Err("ä".repeat(5000).into())).len() <= MAX_MESSAGE);
        let decoded = WorkloadResponse::decode(ack(None, Ok(())).as_slice()).unwrap();
        assert_eq!(decoded.payload, Some(Answer::Ack(Ack::default())));
    }
}
