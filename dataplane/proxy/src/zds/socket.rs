//! A SOCK_SEQPACKET connection whose messages carry descriptors.
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    send, socket,
};
use tokio::io::unix::AsyncFd;

use super::message::{MAX_MESSAGE, Received, ZdsError};

/// The most descriptors the kernel lets one message carry (unix(7)).
const SCM_MAX_FD: usize = 253;

/// The connection to the agent.
pub struct ZdsSocket(AsyncFd<OwnedFd>);

impl ZdsSocket {
    /// # Errors
    /// When nobody listens at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        // SAFETY: an `OwnedFd` is open, stays the same descriptor for its lifetime, and is owned by the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered?))
    }

    /// # Errors
    /// When the agent is gone.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        let write = |fd: &OwnedFd| Ok(send(fd.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)?);
        loop {
            if let Ok(sent) = self.0.writable().await?.try_io(|fd| write(fd.get_ref())) {
                return sent.map(drop);
            }
        }
    }

    /// The next message; none when the agent has closed the connection.
    ///
    /// # Errors
    /// When the connection fails. A message that is itself unfit is answered inside.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        loop {
            if let Ok(received) = self.0.readable().await?.try_io(|fd| receive(fd.get_ref())) {
                return received;
            }
        }
    }
}

fn receive(fd: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = [0u8; MAX_MESSAGE];
    // Room for as many as one message can carry, so that none is installed unseen.
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<UnixAddr>(
        fd.as_raw_fd(),
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
            descriptors.extend(
                received
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    if length == 0 {
        return Ok(None);
    }
    let descriptors = if flags.contains(MsgFlags::MSG_CTRUNC) {
        // Even that room was not enough: this process has no descriptors left.
        Err(ZdsError::NoDescriptors)
    } else if flags.contains(MsgFlags::MSG_TRUNC) {
        Err(ZdsError::TooLong)
    } else {
        Ok(descriptors)
    };
    Ok(Some(Received {
        bytes: bytes.get(..length).unwrap_or_default().to_vec(),
        descriptors,
    }))
}
