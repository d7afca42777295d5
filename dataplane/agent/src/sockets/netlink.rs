//! Netlink: framing (linux/netlink.h) and a connection that asks and reads
//! answers. Fields are in the machine's byte order unless said otherwise.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

pub const NLM_F_REQUEST: u16 = 1;
pub const NLM_F_ACK: u16 = 4;
pub const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// An attribute that holds attributes.
pub const NESTED: u16 = 1 << 15;
/// What of an attribute's type is its number (the rest are flags).
const ATTRIBUTE_TYPE: u16 = 0x3fff;
/// Length of `nlmsghdr`.
const HEADER: usize = 16;
/// Seconds to wait for the kernel's answer before giving up.
const ANSWER_SECONDS: i64 = 5;

/// A connection to a part of the kernel, in the network namespace it was opened in.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
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

    /// Sends one request and gives each message of the answer to `take`, to
    /// the answer's end: the last of a dump, or the acknowledgement
    /// (`NLM_F_ACK`). The kernel's refusal is the error.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut take: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = framed(kind, NLM_F_REQUEST | flags, self.sequence, body)?;
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let answers =
                messages(&buffer[..length]).filter(|message| message.sequence == self.sequence);
            for message in answers {
                match (message.kind, errno(message.body)) {
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

fn framed(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    out.extend(body);
    Ok(out)
}

/// One message: its type, its sequence number and what follows the header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    sequence: u32,
    pub body: &'a [u8],
}

/// The messages in one datagram; ends at the first that is cut short.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            sequence: u32_at(datagram, 8)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The errno of an NLMSG_ERROR or NLMSG_DONE body; 0 is success.
fn errno(body: &[u8]) -> i32 {
    u32_at(body, 0).map_or(0, |code| (code as i32).wrapping_neg())
}

/// The attributes in `rest`, by number; ends at the first that is cut short.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & ATTRIBUTE_TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute with this number.
pub fn attribute(rest: &[u8], number: u16) -> Option<&[u8]> {
    attributes(rest)
        .find(|(kind, _)| *kind == number)
        .map(|(_, value)| value)
}

/// Appends an attribute, padded. Values here are a few dozen bytes.
pub fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(aligned(out.len()), 0);
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_datagram_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for message in messages(&bytes) {
                errno(message.body);
                attributes(message.body).count();
            }
            attributes(&bytes).count();
        }

        #[test]
        fn what_is_put_is_found(kind in 1u16..100, value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            put_attribute(&mut out, 200, b"before");
            put_attribute(&mut out, kind | NESTED, &value);
            prop_assert_eq!(attribute(&out, kind), Some(value.as_slice()));
        }
    }

    #[test]
    fn a_message_or_attribute_of_no_length_does_not_repeat_for_ever() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
