use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{MAX_MESSAGE, MessageError};

/// The most descriptors the kernel lets one message carry (unix(7)).
const SCM_MAX_FD: usize = 253;
/// Proxies that wait to be accepted; a node has two, during an upgrade.
const BACKLOG: i32 = 16;

/// A SOCK_SEQPACKET unix socket: each message arrives whole, with its descriptors.
pub struct SeqPacket(AsyncFd<OwnedFd>);

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    pub bytes: Vec<u8>,
    /// What came with it, or why the message cannot be used.
    pub descriptors: Result<Vec<OwnedFd>, MessageError>,
}

impl SeqPacket {
    /// Listens at `path`, in place of whatever socket was left there.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        let fd = new_socket()?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Self::from_fd(fd)
    }

    /// # Errors
    /// When nobody listens at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = new_socket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::from_fd(fd)
    }

    fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open, stays the same descriptor for its lifetime, and is owned by the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered?))
    }

    /// The next connection.
    ///
    /// # Errors
    /// When it cannot be accepted, for want of descriptors say.
    pub async fn accept(&self) -> io::Result<Self> {
        let accepting = self.0.async_io(Interest::READABLE, |listener| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let raw = accept4(listener.as_raw_fd(), flags)?;
            // SAFETY: accept4 has just made this descriptor for us.
            Ok(unsafe { OwnedFd::from_raw_fd(raw) })
        });
        Self::from_fd(accepting.await?)
    }

    /// The process that connected, as this process numbers it; `None` where it cannot see it.
    pub fn peer_pid(&self) -> Option<i32> {
        let credentials = getsockopt(self.0.get_ref(), sockopt::PeerCredentials).ok()?;
        (credentials.pid() > 0).then_some(credentials.pid())
    }

    /// # Errors
    /// When the peer is gone.
    pub async fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let send_now = |socket: &OwnedFd| {
            let (slices, flags) = ([IoSlice::new(message)], MsgFlags::MSG_NOSIGNAL);
            sendmsg::<()>(socket.as_raw_fd(), &slices, control, flags, None)?;
            Ok(())
        };
        self.0.async_io(Interest::WRITABLE, send_now).await
    }

    /// The next message; `None` when the peer has closed.
    ///
    /// # Errors
    /// When the connection fails. What is wrong with a message is told inside it.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        self.0.async_io(Interest::READABLE, receive_now).await
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kind = SockType::SeqPacket;
    Ok(socket(AddressFamily::Unix, kind, flags, None)?)
}

fn receive_now(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = [0u8; MAX_MESSAGE];
    // Room for as many as one message can carry, so that none is installed unseen.
    let mut control = cmsg_space!([RawFd; SCM_MAX_FD]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let (length, flags) = (message.bytes, message.flags);
    // Descriptors are owned first, so that every way out below closes them.
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just put these descriptors into our table, open, and nobody else has them.
            let owned = received
                .into_iter()
                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            descriptors.extend(owned);
        }
    }
    if length == 0 {
        return Ok(None);
    }
    let descriptors = if flags.contains(MsgFlags::MSG_CTRUNC) {
        // Even that room was not enough: this process has no descriptors left.
        Err(MessageError::NoDescriptors)
    } else if flags.contains(MsgFlags::MSG_TRUNC) {
        Err(MessageError::TooLong)
    } else {
        Ok(descriptors)
    };
    Ok(Some(Received {
        bytes: bytes.get(..length).unwrap_or_default().to_vec(),
        descriptors,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    async fn pair() -> (SeqPacket, SeqPacket) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zds.sock");
        drop(SeqPacket::listen(&path).unwrap());
        let listener = SeqPacket::listen(&path).unwrap();
        let connected = SeqPacket::connect(&path).unwrap();
        (listener.accept().await.unwrap(), connected)
    }

    #[tokio::test]
    async fn descriptors_come_with_their_message_and_each_message_whole() {
        let (agent, proxy) = pair().await;
        assert_eq!(agent.peer_pid(), i32::try_from(std::process::id()).ok());
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        agent.send(b"one", &[null.as_fd(); 4]).await.unwrap();
        agent.send(b"two", &[]).await.unwrap();
        for (bytes, count) in [(b"one", 4), (b"two", 0)] {
            let received = proxy.receive().await.unwrap().unwrap();
            assert_eq!(received.bytes, bytes);
            assert_eq!(received.descriptors.unwrap().len(), count);
        }
        drop(agent);
        assert!(proxy.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_told_and_the_next_is_read() {
        let (agent, proxy) = pair().await;
        agent.send(&[0; MAX_MESSAGE + 1], &[]).await.unwrap();
        agent.send(&[0; MAX_MESSAGE], &[]).await.unwrap();
        let received = [0, 1].map(async |_| proxy.receive().await.unwrap().unwrap());
        let [long, longest] = received;
        let refused = long.await.descriptors.unwrap_err();
        assert_eq!(refused, MessageError::TooLong);
        assert!(longest.await.descriptors.is_ok());
    }
}
