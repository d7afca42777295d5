//! A proxy that does what the wire asks of one, naively: takes pods over by
//! ZDS, listens in their namespaces, relays with marks and original sources.
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use tulle_agent::netns::Netns;
use tulle_names::{INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT, PROXY_PORTS};
use tulle_socket_owner::SocketOwner;
use tulle_zds::{Answer, Hello, Numbered, Pod, Refusal, RefusalReason, Request, SeqPacket};

use super::node::TestNode;
use super::status::Status;

/// What the proxy was told and did.
#[derive(Default)]
pub struct Seen {
    /// Messages in order: `add <uid>`, `del <uid>`, `snapshot`.
    pub messages: Mutex<Vec<String>>,
    pub outbound: AtomicUsize,
    pub inbound: AtomicUsize,
}

/// How a proxy behaves.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Refuses every pod, for this reason and with these words.
    pub refusal: Option<(RefusalReason, &'static str)>,
    /// The authority refuses pods of this service account.
    pub unentitled: Option<&'static str>,
    /// Pods of this service account are never answered.
    pub unanswered: Option<&'static str>,
    /// Accepts on the agent's listeners; else it says nothing of them and listens itself.
    pub takes_listeners: bool,
    pub answers_in_any_order: bool,
}

pub const PLAIN: Manner = Manner {
    refusal: None,
    unentitled: None,
    unanswered: None,
    takes_listeners: true,
    answers_in_any_order: true,
};

/// A connected proxy; dropping it is its crash.
pub struct Proxy {
    pub seen: Arc<Seen>,
    pub status: Status,
    held: Arc<Held>,
    zds: tokio::task::JoinHandle<()>,
    pages: tokio::task::JoinHandle<()>,
}

/// What a proxy has of its pods.
struct Held {
    /// By pod: dropped, its ports are accepted on no more.
    pods: Mutex<HashMap<String, Vec<Accepting>>>,
    relays: Mutex<Vec<TcpStream>>,
    /// Its descriptors, as the node's process table shows them.
    descriptors: PathBuf,
    /// What its sockets are known by.
    owner: SocketOwner,
}

impl Proxy {
    pub async fn connect(node: &TestNode) -> Self {
        Self::with(node, PLAIN).await
    }

    /// A proxy that refuses every pod with `words`.
    pub async fn refusing(node: &TestNode, words: &'static str) -> Self {
        let refusal = Some((RefusalReason::Other, words));
        Self::with(node, Manner { refusal, ..PLAIN }).await
    }

    /// A proxy that refuses every pod for want of a certificate.
    pub async fn without_certificates(node: &TestNode, words: &'static str) -> Self {
        let refusal = Some((RefusalReason::NoCertificate, words));
        Self::with(node, Manner { refusal, ..PLAIN }).await
    }

    /// A proxy of another make, that listens in pods itself.
    pub async fn foreign(node: &TestNode) -> Self {
        let manner = Manner {
            takes_listeners: false,
            answers_in_any_order: false,
            ..PLAIN
        };
        Self::with(node, manner).await
    }

    pub async fn with(node: &TestNode, manner: Manner) -> Self {
        let hello = Hello {
            takes_listeners: manner.takes_listeners,
            answers_in_any_order: manner.answers_in_any_order,
        }
        .encode();
        let path = node.zds();
        let socket = loop {
            // An agent that is going or not yet there: try again.
            if let Ok(socket) = SeqPacket::connect(&path)
                && socket.send(&hello, &[]).await.is_ok()
            {
                break socket;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let run_dir = path.parent().unwrap();
        let owner = tulle_socket_owner::read(run_dir).unwrap().unwrap();
        let seen = Arc::new(Seen::default());
        let status = Status::new(&node.cluster);
        let held = Arc::new(Held {
            pods: Mutex::default(),
            relays: Mutex::default(),
            descriptors: node.descriptors(),
            owner,
        });
        let pages = status.serve(&path.with_file_name(tulle_proxy_status::DIRECTORY));
        let (told, holds, says) = (Arc::clone(&seen), Arc::clone(&held), status.clone());
        let zds = tokio::spawn(converse(socket, told, says, holds, manner));
        Self {
            seen,
            status,
            held,
            zds,
            pages,
        }
    }

    pub fn messages(&self) -> Vec<String> {
        self.seen.messages.lock().unwrap().clone()
    }

    pub fn has(&self, message: &str) -> bool {
        self.messages().iter().any(|seen| seen == message)
    }

    /// Begins to drain, as on SIGTERM: it leaves the agent, accepts no more, carries what it has
    /// and says so.
    pub fn drain(&self) {
        self.zds.abort();
        self.held.pods.lock().unwrap().clear();
        self.status.drains();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.zds.abort();
        self.pages.abort();
        self.held.pods.lock().unwrap().clear();
        for relay in self.held.relays.lock().unwrap().drain(..) {
            let _ = relay.shutdown(Shutdown::Both);
        }
    }
}

/// A port that is accepted on until this is dropped, and not after.
struct Accepting {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

async fn converse(
    socket: SeqPacket,
    seen: Arc<Seen>,
    status: Status,
    held: Arc<Held>,
    manner: Manner,
) {
    while let Ok(Some(received)) = socket.receive().await {
        let Numbered { number, request } = Numbered::decode(received);
        assert_eq!(number.is_some(), manner.answers_in_any_order);
        let is = |account: Option<&str>, pod: &Pod| account == Some(pod.service_account.as_str());
        let refused = |reason, words: &str| {
            let message = words.to_owned();
            Err(Refusal { reason, message })
        };
        let (message, outcome) = match request.unwrap() {
            Request::Add(pod, _) if is(manner.unanswered, &pod) => {
                let mut messages = seen.messages.lock().unwrap();
                messages.push(format!("unanswered {}", pod.uid));
                continue;
            }
            Request::Add(pod, _) if is(manner.unentitled, &pod) => {
                let words = "no certificate: the authority answered PermissionDenied";
                let outcome = refused(RefusalReason::IdentityRefused, words);
                (format!("refused {}", pod.uid), outcome)
            }
            Request::Add(pod, handed) => {
                let namespace = Netns::from_fd(handed.netns).unwrap();
                let listeners = handed.listeners.into_iter().flatten();
                let listeners: Vec<_> = listeners.map(TcpListener::from).collect();
                assert!(manner.takes_listeners || listeners.is_empty());
                let outcome = match manner.refusal {
                    Some((reason, words)) => refused(reason, words),
                    None => serve(&namespace, listeners, &pod.uid, &seen, &held)
                        .await
                        .map_err(|err| err.to_string().into()),
                };
                if outcome.is_ok() {
                    status.serves(&pod.uid);
                }
                (format!("add {}", pod.uid), outcome)
            }
            Request::Delete { uid } => {
                status.lets_go(&uid);
                held.pods.lock().unwrap().remove(&uid);
                (format!("del {uid}"), Ok(()))
            }
            Request::SnapshotSent => ("snapshot".to_owned(), Ok(())),
            Request::Keep { uid } => (format!("keep {uid}"), Ok(())),
        };
        seen.messages.lock().unwrap().push(message);
        let number = number.map_or(0, NonZeroU64::get);
        let answer = Answer { number, outcome };
        if socket.send(&answer.encode(), &[]).await.is_err() {
            return;
        }
    }
}

async fn serve(
    namespace: &Netns,
    mut listeners: Vec<TcpListener>,
    uid: &str,
    seen: &Arc<Seen>,
    held: &Arc<Held>,
) -> io::Result<()> {
    if listeners.is_empty() {
        let owner = held.owner;
        let open = move || {
            let open = |port| listener(port, owner);
            PROXY_PORTS.into_iter().map(open).collect()
        };
        listeners = namespace.run(open).await?;
    }
    let accepting = listeners.into_iter().map(|listener| {
        let stop = Arc::new(AtomicBool::new(false));
        let entry = held.descriptors.join(listener.as_raw_fd().to_string());
        let inode = nix::sys::stat::fstat(&listener).unwrap().st_ino;
        std::os::unix::fs::symlink(format!("socket:[{inode}]"), &entry).unwrap();
        let (namespace, seen) = (namespace.clone(), Arc::clone(seen));
        let (stopped, held) = (Arc::clone(&stop), Arc::clone(held));
        let thread = std::thread::spawn(move || {
            accept(&listener, &namespace, &seen, &held, &stopped);
            drop(listener);
            let _ = std::fs::remove_file(entry);
        });
        let thread = Some(thread);
        Accepting { stop, thread }
    });
    let accepting = accepting.collect();
    held.pods.lock().unwrap().insert(uid.to_owned(), accepting);
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
    let fd = owned_socket(owner)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    listen(&fd, Backlog::new(64)?)?;
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection; `None` once told to stop. Others may accept from the same queue.
fn next(listener: &TcpListener, stop: &AtomicBool) -> Option<(TcpStream, SocketAddr)> {
    while !stop.load(Ordering::SeqCst) {
        let mut ready = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, and the length says one.
        unsafe { libc::poll(&raw mut ready, 1, 20) };
        if let Ok((stream, peer)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            return Some((stream, peer));
        }
    }
    None
}

fn accept(listener: &TcpListener, namespace: &Netns, seen: &Seen, held: &Held, stop: &AtomicBool) {
    use nix::sched::{CloneFlags, setns};
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
    let port = listener.local_addr().unwrap().port();
    while let Some((stream, peer)) = next(listener, stop) {
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
        let source = (port == INBOUND_PLAINTEXT_PORT).then_some(peer);
        let Ok(upstream) = dial(original, source, held.owner) else {
            continue;
        };
        held.relays
            .lock()
            .unwrap()
            .extend([stream.try_clone().unwrap(), upstream.try_clone().unwrap()]);
        relay(stream.try_clone().unwrap(), upstream.try_clone().unwrap());
        relay(upstream, stream);
    }
}

fn dial(to: SocketAddr, source: Option<SocketAddr>, owner: SocketOwner) -> io::Result<TcpStream> {
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
