//! The messages of `sock_diag` (linux/sock_diag.h, linux/inet_diag.h). Fields
//! are in the machine's byte order except ports and addresses.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
pub const SOCK_DESTROY: u16 = 21;
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_MARK: u16 = 15;
/// Lengths of `nlmsghdr`, `inet_diag_sockid` and `inet_diag_msg`.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
const MESSAGE: usize = 72;

/// A socket as the kernel names it: `inet_diag_sockid`, kept as it came, so
/// that ending it names exactly this one (the cookie is never used twice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId {
    pub family: u8,
    raw: [u8; SOCKET_ID],
}

impl SocketId {
    /// Unique among all sockets since boot.
    pub fn cookie(&self) -> u64 {
        let (low, high) = (self.word(40), self.word(44));
        u64::from(high) << 32 | u64::from(low)
    }

    fn word(&self, at: usize) -> u32 {
        u32_at(&self.raw, at).unwrap_or_default()
    }
}

/// TCP's states as the kernel numbers them; the ones that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Established,
    /// One side has said it sends no more; the other still may.
    HalfClosed,
    Listen,
    /// Not yet or no longer a connection that carries data.
    Other,
}

impl State {
    fn from_kernel(number: u8) -> Self {
        match number {
            1 => Self::Established,
            4 | 5 | 8 => Self::HalfClosed,
            10 => Self::Listen,
            _ => Self::Other,
        }
    }
}

/// Every state but TIME_WAIT and CLOSE, as a bit mask: what is over carries nothing.
pub const LIVE_STATES: u32 = 0xfff & !(1 << 0) & !(1 << 6) & !(1 << 7);

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    pub id: SocketId,
    pub state: State,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Packet mark (SO_MARK).
    pub mark: u32,
    /// Whether a process still holds it.
    pub held: bool,
    /// Bytes received and not read, plus bytes written and not acknowledged.
    pub queued: u64,
    /// Milliseconds since data was last sent or received; 0 where the kernel does not say.
    pub quiet_ms: u32,
}

/// A request for every TCP socket of a family (AF_INET or AF_INET6) in `states`.
pub fn dump_request(family: u8, states: u32, sequence: u32) -> Vec<u8> {
    let id = [0; SOCKET_ID];
    request(
        SOCK_DIAG_BY_FAMILY,
        NLM_F_DUMP,
        sequence,
        family,
        1 << (INET_DIAG_INFO - 1),
        states,
        &id,
    )
}

/// A request to end one socket; the kernel answers with an acknowledgement.
pub fn destroy_request(id: &SocketId, sequence: u32) -> Vec<u8> {
    request(
        SOCK_DESTROY,
        NLM_F_ACK,
        sequence,
        id.family,
        0,
        u32::MAX,
        &id.raw,
    )
}

fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    extensions: u8,
    states: u32,
    id: &[u8; SOCKET_ID],
) -> Vec<u8> {
    let length = (HEADER + 8 + SOCKET_ID) as u32;
    let mut out = Vec::with_capacity(length as usize);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    out.extend([family, IPPROTO_TCP, extensions, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(id);
    out
}

/// One netlink message: its type, its sequence number and what follows the header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
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
pub fn errno(body: &[u8]) -> i32 {
    u32_at(body, 0).map_or(0, |code| (code as i32).wrapping_neg())
}

/// An `inet_diag_msg` with its attributes; `None` where it is cut short.
pub fn socket(body: &[u8]) -> Option<TcpSocket> {
    let fixed = body.get(..MESSAGE)?;
    let family = fixed[0];
    let mut raw = [0; SOCKET_ID];
    raw.copy_from_slice(fixed.get(4..4 + SOCKET_ID)?);
    let mut parsed = TcpSocket {
        id: SocketId { family, raw },
        state: State::from_kernel(fixed[1]),
        local: address(
            family,
            raw.get(4..20)?,
            u16::from_be_bytes([raw[0], raw[1]]),
        )?,
        remote: address(
            family,
            raw.get(20..36)?,
            u16::from_be_bytes([raw[2], raw[3]]),
        )?,
        mark: 0,
        held: u32_at(fixed, 68)? != 0,
        queued: u64::from(u32_at(fixed, 56)?) + u64::from(u32_at(fixed, 60)?),
        quiet_ms: 0,
    };
    for (kind, value) in attributes(body.get(MESSAGE..).unwrap_or_default()) {
        match kind {
            INET_DIAG_MARK => parsed.mark = u32_at(value, 0).unwrap_or_default(),
            INET_DIAG_INFO => parsed.quiet_ms = quiet(value),
            _ => {}
        }
    }
    Some(parsed)
}

/// `tcpi_last_data_sent` and `tcpi_last_data_recv` of `tcp_info`, the smaller.
fn quiet(info: &[u8]) -> u32 {
    match (u32_at(info, 44), u32_at(info, 52)) {
        (Some(sent), Some(received)) => sent.min(received),
        _ => 0,
    }
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// IPv4 in IPv6 is IPv4 here: a dual-stack listener's connections are the same ones.
fn address(family: u8, bytes: &[u8], port: u16) -> Option<SocketAddr> {
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
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
                socket(message.body);
                errno(message.body);
            }
            socket(&bytes);
        }
    }

    #[test]
    fn a_message_of_no_length_does_not_repeat_for_ever() {
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
