use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::wire::{
    self, LIVE_STATES, Message, NLMSG_DONE, NLMSG_ERROR, SOCK_DIAG_BY_FAMILY, TcpSocket,
};

/// The TCP sockets of a namespace at about one moment: a dump is not atomic,
/// what opens or closes meanwhile may be in it or not.
pub type Sockets = Vec<TcpSocket>;

/// Seconds to wait for the kernel's answer before giving up.
const ANSWER_SECONDS: i64 = 5;

/// A netlink connection to `sock_diag` of the namespace it was opened in.
pub struct Diag {
    socket: OwnedFd,
    sequence: u32,
}

/// Every live TCP socket of the calling thread's network namespace.
pub fn dump() -> io::Result<Sockets> {
    let mut diag = Diag::open()?;
    let mut sockets = diag.dump(libc::AF_INET)?;
    sockets.extend(diag.dump(libc::AF_INET6)?);
    Ok(sockets)
}

impl Diag {
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(ANSWER_SECONDS, 0),
        )?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn dump(&mut self, family: i32) -> io::Result<Sockets> {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        let sequence = self.next_sequence();
        self.send(&wire::dump_request(family, LIVE_STATES, sequence))?;
        let mut sockets = Sockets::new();
        self.answers(sequence, |message| {
            if message.kind == SOCK_DIAG_BY_FAMILY {
                sockets.extend(wire::socket(message.body));
            }
        })?;
        Ok(sockets)
    }

    /// Ends one socket: its process sees ECONNABORTED, its peer a reset.
    pub fn destroy(&mut self, id: &wire::SocketId) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.send(&wire::destroy_request(id, sequence))?;
        self.answers(sequence, |_| {})
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), request, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads until the end of the answer to `sequence` and gives each message to `take`.
    fn answers(&self, sequence: u32, mut take: impl FnMut(Message<'_>)) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in
                wire::messages(&buffer[..length]).filter(|message| message.sequence == sequence)
            {
                match (message.kind, wire::errno(message.body)) {
                    (NLMSG_DONE | NLMSG_ERROR, 0) => return Ok(()),
                    (NLMSG_DONE | NLMSG_ERROR, errno) => {
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    _ => take(message),
                }
            }
        }
    }
}
