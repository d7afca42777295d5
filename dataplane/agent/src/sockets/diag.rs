//! `sock_diag` (linux/sock_diag.h): listing sockets and ending them.
use std::io;

use nix::sys::socket::SockProtocol;

use super::netlink::{NLM_F_ACK, NLM_F_DUMP, Netlink};
use super::wire::{self, LIVE_STATES, SocketId, TcpSocket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// The TCP sockets of a namespace at about one moment: a dump is not atomic,
/// what opens or closes meanwhile may be in it or not.
pub type Sockets = Vec<TcpSocket>;

/// Every live TCP socket of the calling thread's network namespace.
pub fn dump() -> io::Result<Sockets> {
    let mut diag = Netlink::open(SockProtocol::NetlinkSockDiag)?;
    let mut sockets = Sockets::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        diag.ask(
            SOCK_DIAG_BY_FAMILY,
            NLM_F_DUMP,
            &wire::dump_request(family, LIVE_STATES),
            |message| {
                if message.kind == SOCK_DIAG_BY_FAMILY {
                    sockets.extend(wire::socket(message.body));
                }
            },
        )?;
    }
    Ok(sockets)
}

/// Ends sockets of the calling thread's network namespace: their processes
/// see ECONNABORTED, their peers a reset. One that is gone already is no error.
pub fn destroy(ids: &[SocketId]) -> io::Result<()> {
    let mut diag = Netlink::open(SockProtocol::NetlinkSockDiag)?;
    for id in ids {
        match diag.ask(SOCK_DESTROY, NLM_F_ACK, &wire::destroy_request(id), |_| {}) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}
