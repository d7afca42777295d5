use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A SOCK_SEQPACKET unix socket: each message arrives whole, with its descriptors.
pub struct SeqPacket {
    fd: AsyncFd<OwnedFd>,
}

/// A message as received, and the descriptors that came with it.
pub struct Received {
    pub message: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// Longest message of the protocol, bytes.
pub const MAX_MESSAGE: usize = 1024;

impl SeqPacket {
    /// Listens at `path`, in place of whatever socket was left there.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let fd = new_socket()?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(16)?)?;
        Self::from_fd(fd)
    }

    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = new_socket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::from_fd(fd)
    }

    fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the AsyncFd owns the descriptor: it stays open and the same as long as that lives.
        let fd = unsafe { AsyncFd::register(fd)? };
        Ok(Self { fd })
    }

    pub async fn accept(&self) -> io::Result<Self> {
        let fd = self
            .fd
            .async_io(Interest::READABLE, |listener| {
                let raw = accept4(
                    listener.as_raw_fd(),
                    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                )?;
                // SAFETY: accept4 has just made this descriptor for us.
                Ok(unsafe { OwnedFd::from_raw_fd(raw) })
            })
            .await?;
        Self::from_fd(fd)
    }

    /// The process that connected, as this process numbers it; `None` where it cannot see it.
    pub fn peer_pid(&self) -> Option<i32> {
        let credentials = getsockopt(self.fd.get_ref(), sockopt::PeerCredentials).ok()?;
        (credentials.pid() > 0).then_some(credentials.pid())
    }

    pub async fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        self.fd
            .async_io(Interest::WRITABLE, |socket| {
                let flags = MsgFlags::MSG_NOSIGNAL;
                Ok(sendmsg::<()>(
                    socket.as_raw_fd(),
                    &[IoSlice::new(message)],
                    control,
                    flags,
                    None,
                )?)
            })
            .await
            .map(|_| ())
    }

    /// The next message; `None` when the peer has closed.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        self.fd.async_io(Interest::READABLE, receive_now).await
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        flags,
        None,
    )?)
}

fn receive_now(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut space = cmsg_space!([std::os::fd::RawFd; 4]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us and nobody else knows them.
            descriptors.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    let (length, is_cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
    if is_cut {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is longer than the protocol allows",
        ));
    }
    buffer.truncate(length);
    Ok((length > 0).then(|| Received {
        message: buffer,
        descriptors,
    }))
}
