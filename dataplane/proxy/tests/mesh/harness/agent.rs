//! An agent: hands pods to proxies.
use std::io::IoSlice;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind,
    listen, recv, sendmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use prost::Message;
use tulle_names::PROXY_PORTS;
use tulle_wire::zds::workload_request::Payload;
use tulle_wire::zds::workload_response::Payload as Answer;
use tulle_wire::zds::{
    Ack, AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    WorkloadResponse, ZdsHello,
};

use super::PATIENCE;
use super::pod::{NAMESPACE, Pod};

pub struct Agent(OwnedFd);

impl Agent {
    pub fn listen(path: &Path) -> Self {
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        listen(&fd, Backlog::new(8).unwrap()).unwrap();
        limit(&fd);
        Self(fd)
    }

    /// Closes a conversation and waits for the proxy to come back.
    pub fn reconnect(&self, conversation: &mut Conversation) -> Conversation {
        nix::sys::socket::shutdown(conversation.0.as_raw_fd(), nix::sys::socket::Shutdown::Both)
            .unwrap();
        self.accept()
    }

    /// Waits for a proxy and its hello.
    pub fn accept(&self) -> Conversation {
        let fd = accept(self.0.as_raw_fd()).expect("a proxy connects");
        // SAFETY: accept has just given this descriptor to us alone.
        let conversation = Conversation(unsafe { OwnedFd::from_raw_fd(fd) });
        limit(&conversation.0);
        let hello = ZdsHello::decode(conversation.receive().as_slice()).unwrap();
        assert_eq!((hello.version, hello.takes_listeners), (1, true));
        assert!(hello.answers_in_any_order);
        conversation
    }
}

/// A pod's ports, held by the agent.
pub struct Listeners(pub [TcpListener; 3]);

impl Listeners {
    pub fn open(pod: &Pod) -> Self {
        let open = |port| TcpListener::bind(("::", port)).unwrap();
        Self(pod.ns.run(|| PROXY_PORTS.map(open)))
    }
}

fn limit(fd: &OwnedFd) {
    let limit = TimeVal::seconds(PATIENCE.as_secs().try_into().unwrap());
    setsockopt(fd, ReceiveTimeout, &limit).unwrap();
    setsockopt(fd, SendTimeout, &limit).unwrap();
}

/// The agent's side of one connection. Every request waits for its answer.
pub struct Conversation(OwnedFd);

impl Conversation {
    pub fn add(&self, pod: &Pod) -> Result<(), String> {
        self.add_with(pod, &[pod.ns.0.as_raw_fd()])
    }

    /// Hands a pod over with listeners that stay the agent's, as Tulle's own agent does.
    pub fn hand(&self, pod: &Pod, listeners: &Listeners) -> Result<(), String> {
        let [outbound, plaintext, hbone] = listeners.0.each_ref().map(AsRawFd::as_raw_fd);
        self.add_with(pod, &[pod.ns.0.as_raw_fd(), outbound, plaintext, hbone])
    }

    /// The same with any descriptors.
    pub fn add_with(&self, pod: &Pod, descriptors: &[RawFd]) -> Result<(), String> {
        self.ask(add(pod), descriptors)
    }

    /// Hands a pod over under a number, without waiting for the answer.
    pub fn begin_add(&self, pod: &Pod, number: u64) {
        let request = WorkloadRequest {
            payload: Some(add(pod)),
            number,
        };
        self.send_only(&request.encode_to_vec(), &[pod.ns.0.as_raw_fd()]);
    }

    /// Says that every pod has been named, under a number.
    pub fn begin_snapshot_sent(&self, number: u64) {
        let request = WorkloadRequest {
            payload: Some(Payload::SnapshotSent(SnapshotSent {})),
            number,
        };
        self.send_only(&request.encode_to_vec(), &[]);
    }

    /// The next answer: to which number, and what.
    pub fn answer(&self) -> (u64, Ack) {
        tokio::task::block_in_place(|| {
            let answer = WorkloadResponse::decode(self.receive().as_slice()).unwrap();
            let Some(Answer::Ack(ack)) = answer.payload else {
                panic!("no ack")
            };
            (answer.number, ack)
        })
    }

    pub fn keep(&self, pod: &Pod) -> Result<(), String> {
        self.ask(Payload::Keep(KeepWorkload { uid: pod.uid() }), &[])
    }

    pub fn delete(&self, pod: &Pod) -> Result<(), String> {
        self.ask(Payload::Del(DelWorkload { uid: pod.uid() }), &[])
    }

    pub fn snapshot_sent(&self) -> Result<(), String> {
        self.ask(Payload::SnapshotSent(SnapshotSent {}), &[])
    }

    fn ask(&self, payload: Payload, descriptors: &[RawFd]) -> Result<(), String> {
        self.send(
            &WorkloadRequest {
                payload: Some(payload),
                number: 0,
            }
            .encode_to_vec(),
            descriptors,
        )
    }

    /// Sends any bytes and reads the answer.
    pub fn send(&self, bytes: &[u8], descriptors: &[RawFd]) -> Result<(), String> {
        self.send_only(bytes, descriptors);
        let (number, ack) = self.answer();
        assert_eq!(number, 0, "what has no number is answered without one");
        if ack.error.is_empty() {
            Ok(())
        } else {
            Err(ack.error)
        }
    }

    fn send_only(&self, bytes: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control: &[_] = if descriptors.is_empty() { &[] } else { &rights };
        sendmsg::<UnixAddr>(
            self.0.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 1024];
        let length =
            recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the proxy answers");
        buffer.truncate(length);
        buffer
    }
}

fn add(pod: &Pod) -> Payload {
    let info = WorkloadInfo {
        name: pod.name.clone(),
        namespace: NAMESPACE.into(),
        service_account: pod.account.clone(),
    };
    Payload::Add(AddWorkload {
        uid: pod.uid(),
        workload_info: Some(info),
    })
}
