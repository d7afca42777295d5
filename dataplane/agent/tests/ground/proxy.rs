//! A proxy that does what the wire asks of one, naively: takes pods over by
//! ZDS, listens in their namespaces, relays with marks and original sources.
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use prost::Message;
use tulle_agent::agent::PROXIES;
use tulle_agent::netns::Netns;
use tulle_agent::wire::{HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT};
use tulle_agent::zds::SeqPacket;
use tulle_socket_owner::SocketOwner;
use tulle_wire::zds::{
    Ack, Version, WorkloadRequest, WorkloadResponse, ZdsHello, workload_request::Payload,
    workload_response,
};

use super::status::Status;

/// What the proxy was told and did.
#[derive(Default)]
pub struct Seen {
    /// Messages in order: `add <uid>`, `del <uid>`, `snapshot`.
    pub messages: Mutex<Vec<String>>,
    pub outbound: AtomicUsize,
    pub inbound: AtomicUsize,
}

/// A connected proxy; dropping it is its crash.
pub struct Proxy {
    pub seen: Arc<Seen>,
    pub status: Status,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

type Pods = Arc<Mutex<HashMap<String, Vec<TcpListener>>>>;
type Relays = Arc<Mutex<Vec<TcpStream>>>;

impl Proxy {
    pub async fn connect(path: &Path) -> Self {
        Self::refusing(path, None).await
    }

    /// A proxy that refuses every pod with `refusal`.
    pub async fn refusing(path: &Path, refusal: Option<&'static str>) -> Self {
        let hello = ZdsHello {
            version: Version::V1 as i32,
        }
        .encode_to_vec();
        let socket = loop {
            // An agent that is going or not yet there: try again.
            if let Ok(socket) = SeqPacket::connect(path)
                && socket.send(&hello, None).await.is_ok()
            {
                break socket;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let run_dir = path.parent().unwrap();
        let owner = tulle_socket_owner::read(run_dir).unwrap().unwrap();
        let seen = Arc::new(Seen::default());
        let status = Status::default();
        let tasks = [
            status.serve(&path.with_file_name(PROXIES)),
            tokio::spawn(converse(
                socket,
                Arc::clone(&seen),
                status.clone(),
                refusal,
                owner,
            )),
        ];
        Self {
            seen,
            status,
            tasks,
        }
    }

    pub fn messages(&self) -> Vec<String> {
        self.seen.messages.lock().unwrap().clone()
    }

    pub fn has(&self, message: &str) -> bool {
        self.messages().iter().any(|seen| seen == message)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Ends what it holds when the proxy crashes or lets go.
struct Held {
    pods: Pods,
    relays: Relays,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pods
            .lock()
            .unwrap()
            .values()
            .flatten()
            .for_each(close_listener);
        for relay in self.relays.lock().unwrap().drain(..) {
            let _ = relay.shutdown(Shutdown::Both);
        }
    }
}

/// Wakes the thread in accept(): shutdown makes it return an error.
fn close_listener(listener: &TcpListener) {
    use std::os::fd::AsRawFd;
    let _ = nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
}

async fn converse(
    socket: SeqPacket,
    seen: Arc<Seen>,
    status: Status,
    refusal: Option<&'static str>,
    owner: SocketOwner,
) {
    let held = Held {
        pods: Pods::default(),
        relays: Relays::default(),
    };
    while let Ok(Some(received)) = socket.receive().await {
        let request = WorkloadRequest::decode(received.message.as_slice()).unwrap();
        let (message, error) = match request.payload.unwrap() {
            Payload::Add(add) => {
                let namespace =
                    Netns::from_fd(received.descriptor.expect("an add carries a descriptor"))
                        .unwrap();
                let error = match refusal {
                    Some(words) => words.to_owned(),
                    None => open(&namespace, &add.uid, &seen, &held, owner)
                        .await
                        .err()
                        .map_or(String::new(), |e| e.to_string()),
                };
                if error.is_empty() {
                    status.serves(&add.uid);
                }
                (format!("add {}", add.uid), error)
            }
            Payload::Del(del) => {
                status.lets_go(&del.uid);
                if let Some(listeners) = held.pods.lock().unwrap().remove(&del.uid) {
                    listeners.iter().for_each(close_listener);
                }
                (format!("del {}", del.uid), String::new())
            }
            Payload::SnapshotSent(_) => ("snapshot".to_owned(), String::new()),
            Payload::Keep(keep) => (format!("keep {}", keep.uid), String::new()),
        };
        seen.messages.lock().unwrap().push(message);
        let response = WorkloadResponse {
            payload: Some(workload_response::Payload::Ack(Ack { error })),
        };
        if socket.send(&response.encode_to_vec(), None).await.is_err() {
            return;
        }
    }
}

async fn open(
    namespace: &Netns,
    uid: &str,
    seen: &Arc<Seen>,
    held: &Held,
    owner: SocketOwner,
) -> io::Result<()> {
    let listeners = namespace
        .run(move || {
            [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT]
                .into_iter()
                .map(|port| listener(port, owner))
                .collect::<io::Result<Vec<_>>>()
        })
        .await?;
    for listener in &listeners {
        let (listener, namespace, seen) =
            (listener.try_clone()?, namespace.clone(), Arc::clone(seen));
        let relays = Arc::clone(&held.relays);
        std::thread::spawn(move || accept(listener, namespace, seen, relays, owner));
    }
    held.pods.lock().unwrap().insert(uid.to_owned(), listeners);
    Ok(())
}

fn owned_socket(owner: SocketOwner) -> io::Result<std::os::fd::OwnedFd> {
    let fd = owner.open(|| {
        let kind = SockType::Stream;
        Ok(socket(
            AddressFamily::Inet,
            kind,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?)
    })?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::IpTransparent, &true)?;
    Ok(fd)
}

fn listener(port: u16, owner: SocketOwner) -> io::Result<TcpListener> {
    use std::os::fd::AsRawFd;
    let fd = owned_socket(owner)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(TcpListener::from(fd))
}

fn accept(
    listener: TcpListener,
    namespace: Netns,
    seen: Arc<Seen>,
    relays: Relays,
    owner: SocketOwner,
) {
    use nix::sched::{CloneFlags, setns};
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    let port = listener.local_addr().unwrap().port();
    while let Ok((stream, peer)) = listener.accept() {
        let counter = if port == OUTBOUND_PORT {
            &seen.outbound
        } else {
            &seen.inbound
        };
        counter.fetch_add(1, Ordering::SeqCst);
        let raw = getsockopt(&stream, sockopt::OriginalDst).unwrap();
        let original = SocketAddr::new(
            IpAddr::V4(Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr))),
            u16::from_be(raw.sin_port),
        );
        let source = (port == INBOUND_PORT).then_some(peer);
        let Ok(upstream) = dial(original, source, owner) else {
            continue;
        };
        relays
            .lock()
            .unwrap()
            .extend([stream.try_clone().unwrap(), upstream.try_clone().unwrap()]);
        relay(stream.try_clone().unwrap(), upstream.try_clone().unwrap());
        relay(upstream, stream);
    }
}

fn dial(to: SocketAddr, source: Option<SocketAddr>, owner: SocketOwner) -> io::Result<TcpStream> {
    use std::os::fd::AsRawFd;
    let fd = owned_socket(owner)?;
    if let Some(SocketAddr::V4(source)) = source {
        bind(
            fd.as_raw_fd(),
            &SockaddrIn::from(std::net::SocketAddrV4::new(*source.ip(), 0)),
        )?;
    }
    let SocketAddr::V4(to) = to else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(TcpStream::from(fd))
}

fn relay(from: TcpStream, to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut &from, &mut &to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
