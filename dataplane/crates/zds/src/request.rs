use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use prost::Message;
use tulle_wire::zds::workload_request::Payload;
use tulle_wire::zds::{AddWorkload, DelWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest};

use crate::{MessageError, Received};

/// A pod as the agent names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// What the agent asks for, as a proxy reads it.
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

/// A request and the number its answer repeats. None: the agent waits for the answer before it asks
/// for anything else.
#[derive(Debug)]
pub struct Numbered {
    pub number: Option<NonZeroU64>,
    /// Or why it cannot be understood.
    pub request: Result<Request, MessageError>,
}

/// Asks a proxy to serve a pod, whose descriptors go beside the message in the order of [`Handed`]. Number 0 is none.
pub fn add(number: u64, pod: &Pod) -> Vec<u8> {
    let info = WorkloadInfo {
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        service_account: pod.service_account.clone(),
    };
    let add = AddWorkload {
        uid: pod.uid.clone(),
        workload_info: Some(info),
    };
    encode(number, Payload::Add(add))
}

/// Asks a proxy to let go of a pod.
pub fn delete(number: u64, uid: &str) -> Vec<u8> {
    let uid = uid.to_owned();
    encode(number, Payload::Del(DelWorkload { uid }))
}

/// Tells a proxy that all pods have been named.
pub fn snapshot_sent(number: u64) -> Vec<u8> {
    encode(number, Payload::SnapshotSent(SnapshotSent {}))
}

fn encode(number: u64, payload: Payload) -> Vec<u8> {
    WorkloadRequest {
        payload: Some(payload),
        number,
    }
    .encode_to_vec()
}

impl Numbered {
    /// Reads a message. Descriptors not used are closed.
    pub fn decode(received: Received) -> Self {
        let decoded = WorkloadRequest::decode(received.bytes.as_slice());
        let number = decoded
            .as_ref()
            .map_or(0, |request: &WorkloadRequest| request.number);
        let request = received.descriptors.and_then(|descriptors| {
            understand(decoded?.payload.ok_or(MessageError::Unknown)?, descriptors)
        });
        Self {
            number: NonZeroU64::new(number),
            request,
        }
    }
}

fn understand(payload: Payload, descriptors: Vec<OwnedFd>) -> Result<Request, MessageError> {
    match payload {
        Payload::Add(add) => {
            let handed = handed(descriptors)?;
            let info = add
                .workload_info
                .ok_or(MessageError::Empty("workload_info"))?;
            let pod = Pod {
                uid: filled("uid", add.uid)?,
                name: filled("name", info.name)?,
                namespace: filled("namespace", info.namespace)?,
                service_account: filled("service_account", info.service_account)?,
            };
            Ok(Request::Add(pod, handed))
        }
        _ if !descriptors.is_empty() => Err(MessageError::Descriptors(descriptors.len(), "none")),
        Payload::Keep(keep) => Ok(Request::Keep {
            uid: filled("uid", keep.uid)?,
        }),
        Payload::Del(del) => Ok(Request::Delete {
            uid: filled("uid", del.uid)?,
        }),
        Payload::SnapshotSent(_) => Ok(Request::SnapshotSent),
    }
}

fn handed(descriptors: Vec<OwnedFd>) -> Result<Handed, MessageError> {
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
            Err(descriptors) => Err(MessageError::Descriptors(descriptors.len(), "1 or 4")),
        },
    }
}

fn filled(field: &'static str, value: String) -> Result<String, MessageError> {
    if value.is_empty() {
        Err(MessageError::Empty(field))
    } else {
        Ok(value)
    }
}

#[cfg(test)]
#[path = "request_test.rs"]
mod tests;
