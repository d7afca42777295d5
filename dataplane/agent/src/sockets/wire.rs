//! The requests and answers of `sock_diag` for TCP (linux/inet_diag.h). Fields
//! are in the machine's byte order except ports and addresses.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netlink::{attributes, u32_at};

const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_MARK: u16 = 15;
/// Lengths of `inet_diag_sockid` and `inet_diag_msg`.
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

    /// A socket of nobody's with this cookie.
    #[cfg(test)]
    pub fn for_test(cookie: u64) -> Self {
        let mut raw = [0; SOCKET_ID];
        raw[40..].copy_from_slice(&cookie.to_ne_bytes());
        Self {
            family: libc::AF_INET as u8,
            raw,
        }
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
    /// As `/proc/<pid>/fd` names it; 0 once no process holds it.
    pub inode: u64,
    /// Bytes received and not read, plus bytes written and not acknowledged.
    pub queued: u64,
    /// Milliseconds since data was last sent or received; 0 where the kernel does not say.
    pub quiet_ms: u32,
}

/// The body of a request for every TCP socket of a family (AF_INET or AF_INET6) in `states`.
pub fn dump_request(family: u8, states: u32) -> Vec<u8> {
    request(family, 1 << (INET_DIAG_INFO - 1), states, &[0; SOCKET_ID])
}

/// The body of a request to end one socket.
pub fn destroy_request(id: &SocketId) -> Vec<u8> {
    request(id.family, 0, u32::MAX, &id.raw)
}

/// `inet_diag_req_v2`.
fn request(family: u8, extensions: u8, states: u32, id: &[u8; SOCKET_ID]) -> Vec<u8> {
    let mut out = vec![family, IPPROTO_TCP, extensions, 0];
    out.extend(states.to_ne_bytes());
    out.extend(id);
    out
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
        inode: u64::from(u32_at(fixed, 68)?),
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

/// IPv4 in IPv6 is IPv4 here: a dual-stack listener's connections are the same ones.
fn address(family: u8, bytes: &[u8], port: u16) -> Option<SocketAddr> {
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_message_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            socket(&bytes);
        }
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 2)
            .to_ipv6_mapped()
            .octets();
        assert_eq!(
            address(libc::AF_INET6 as u8, &mapped, 80),
            Some("10.0.0.2:80".parse().unwrap())
        );
    }
}
