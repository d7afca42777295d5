use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::fstat;

use super::PortError;
use crate::netns::Netns;
use tulle_names::PROXY_PORTS;

/// Connections that wait to be accepted, a port; the kernel bounds it by `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// The listeners of one pod. Clones share them; they close with the last clone here and the last
/// duplicate in a proxy.
#[derive(Clone, Debug)]
pub struct Listeners(Arc<[Listener; PROXY_PORTS.len()]>);

#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    /// Of the socket, as `sock_diag` and `/proc` name it.
    inode: u64,
}

impl Listeners {
    /// Those of `found`, by port, and new ones for the ports it lacks.
    pub(super) async fn complete(
        namespace: &Netns,
        mut found: Vec<(u16, OwnedFd)>,
    ) -> Result<Self, PortError> {
        let mut take = move |port: u16| {
            match found.iter().position(|(taken, _)| *taken == port) {
                Some(at) => Ok(found.swap_remove(at).1),
                None => open(port),
            }
            .and_then(Listener::new)
        };
        let opened = namespace
            .run(move || {
                let [outbound, inbound, hbone] =
                    PROXY_PORTS.map(|port| take(port).map_err(|cause| at(port, cause)));
                Ok([outbound, inbound, hbone])
            })
            .await?;
        let [outbound, inbound, hbone] = opened;
        Ok(Self(Arc::new([outbound?, inbound?, hbone?])))
    }

    /// Whether the socket with this inode is one of these.
    pub fn has(&self, inode: u64) -> bool {
        self.0.iter().any(|listener| listener.inode == inode)
    }

    /// In the order of [`PROXY_PORTS`].
    pub fn descriptors(&self) -> [BorrowedFd<'_>; PROXY_PORTS.len()] {
        self.0.each_ref().map(|listener| listener.fd.as_fd())
    }
}

impl Listener {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let inode = fstat(&fd)?.st_ino;
        Ok(Self { fd, inode })
    }
}

fn at(port: u16, cause: io::Error) -> PortError {
    if cause.kind() == io::ErrorKind::AddrInUse {
        PortError::InUse(port)
    } else {
        PortError::Io(io::Error::new(
            cause.kind(),
            format!("opening port {port} in the pod: {cause}"),
        ))
    }
}

/// Listens on every address of the calling thread's network namespace.
///
/// Without SO_REUSEPORT nobody joins. SO_REUSEADDR shares no listening port (socket(7)); it lets
/// this one be bound while connections of an earlier one are remembered (TIME_WAIT), and must be
/// inherited by those accepted for that.
fn open(port: u16) -> io::Result<OwnedFd> {
    match listener(
        AddressFamily::Inet6,
        &SockaddrIn6::from(std::net::SocketAddrV6::new(
            std::net::Ipv6Addr::UNSPECIFIED,
            port,
            0,
            0,
        )),
    ) {
        // A kernel without IPv6, or a namespace with it disabled.
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => Ok(listener(
            AddressFamily::Inet,
            &SockaddrIn::new(0, 0, 0, 0, port),
        )?),
        other => Ok(other?),
    }
}

fn listener(family: AddressFamily, address: &dyn SockaddrLike) -> nix::Result<OwnedFd> {
    // Duplicates share their flags: proxies expect a socket that does not block.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), address)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}
