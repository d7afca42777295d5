//! What connection tracking did to a connection (ctnetlink,
//! linux/netfilter/nfnetlink_conntrack.h). It knows for certain what socket
//! addresses only suggest: when two connections have the same local address,
//! the redirect gives one of them another source port, and its mirror is not
//! to be found by its address.
use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::SockProtocol;

use super::netlink::{NESTED, NLM_F_ACK, NLM_F_DUMP, Netlink, attribute, put_attribute};
use super::wire::TcpSocket;
use tulle_names::{INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`, and the type of its answer.
const GET: u16 = 1 << 8 | 1;
const ENTRY: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// `IPS_SRC_NAT | IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 4 | 1 << 5;
/// Length of `nfgenmsg`.
const GENERIC: usize = 4;

/// A connection to ctnetlink of the calling thread's network namespace.
pub struct Conntrack(Netlink);

impl Conntrack {
    pub fn open() -> io::Result<Self> {
        Ok(Self(Netlink::open(SockProtocol::NetlinkNetFilter)?))
    }

    /// Whether `socket`'s connection was redirected to the proxy; `None`
    /// where tracking does not know the connection or cannot be asked.
    pub fn is_redirected(&mut self, socket: &TcpSocket) -> Option<bool> {
        let mut redirected = None;
        let request = lookup(socket.local, socket.remote)?;
        let answered = self.0.ask(GET, NLM_F_ACK, &request, |message| {
            if message.kind == ENTRY {
                redirected = reply_source_port(message.body)
                    .map(|port| [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT].contains(&port));
            }
        });
        answered.ok().and(redirected)
    }

    /// Forgets TCP connections, but for those that others translate. For the time after the rules: tracking has ended with
    /// them, and what it still held would be taken up in its old state by later rules. An entry without a
    /// translation is made anew when its connection goes on.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn forget(&mut self) -> io::Result<()> {
        let mut entries = Vec::new();
        // nfgenmsg: any family, version 0, resource 0.
        self.0.ask(GET, NLM_F_DUMP, &[0; GENERIC], |message| {
            if message.kind == ENTRY {
                entries.extend(deletion(message.body));
            }
        })?;
        for entry in entries {
            match self.0.ask(DELETE, NLM_F_ACK, &entry, |_| {}) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The body of a request to delete an entry that no longer tells anything; `None` for others.
fn deletion(entry: &[u8]) -> Option<Vec<u8>> {
    let attributes = entry.get(GENERIC..)?;
    let tuple = attribute(attributes, CTA_TUPLE_ORIG)?;
    let protocol = attribute(attribute(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?;
    let status = u32::from_be_bytes(
        attribute(attributes, CTA_STATUS)?
            .get(..4)?
            .try_into()
            .ok()?,
    );
    let ours = reply_source_port(entry)
        .is_some_and(|port| [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT].contains(&port));
    if protocol != [IPPROTO_TCP] || (status & TRANSLATED != 0 && !ours) {
        return None;
    }
    let mut body = vec![*entry.first()?, 0, 0, 0];
    put_attribute(&mut body, CTA_TUPLE_ORIG | NESTED, tuple);
    for kind in [CTA_ZONE, CTA_ID] {
        if let Some(value) = attribute(attributes, kind) {
            put_attribute(&mut body, kind, value);
        }
    }
    Some(body)
}

/// The body of a request for the entry of `local` → `remote`; `None` for a mixed pair.
fn lookup(local: SocketAddr, remote: SocketAddr) -> Option<Vec<u8>> {
    let mut addresses = Vec::new();
    let family = match (local.ip(), remote.ip()) {
        // CTA_IP_V4_SRC, CTA_IP_V4_DST
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            put_attribute(&mut addresses, 1, &source.octets());
            put_attribute(&mut addresses, 2, &destination.octets());
            libc::AF_INET
        }
        // CTA_IP_V6_SRC, CTA_IP_V6_DST
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put_attribute(&mut addresses, 3, &source.octets());
            put_attribute(&mut addresses, 4, &destination.octets());
            libc::AF_INET6
        }
        _ => return None,
    };
    let mut ports = Vec::new();
    put_attribute(&mut ports, CTA_PROTO_NUM, &[IPPROTO_TCP]);
    put_attribute(&mut ports, CTA_PROTO_SRC_PORT, &local.port().to_be_bytes());
    put_attribute(&mut ports, CTA_PROTO_DST_PORT, &remote.port().to_be_bytes());
    let mut tuple = Vec::new();
    put_attribute(&mut tuple, CTA_TUPLE_IP | NESTED, &addresses);
    put_attribute(&mut tuple, CTA_TUPLE_PROTO | NESTED, &ports);
    // nfgenmsg: family, version 0, resource 0.
    let mut body = vec![u8::try_from(family).ok()?, 0, 0, 0];
    put_attribute(&mut body, CTA_TUPLE_ORIG | NESTED, &tuple);
    Some(body)
}

/// Where answers come from: a redirected connection's from the proxy's port.
fn reply_source_port(entry: &[u8]) -> Option<u16> {
    let reply = attribute(entry.get(GENERIC..)?, CTA_TUPLE_REPLY)?;
    let port = attribute(attribute(reply, CTA_TUPLE_PROTO)?, CTA_PROTO_SRC_PORT)?;
    Some(u16::from_be_bytes(port.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_entry_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            reply_source_port(&bytes);
            deletion(&bytes);
        }
    }

    #[test]
    fn a_lookup_names_the_connection_in_network_byte_order() {
        let body = lookup(
            "10.0.0.2:258".parse().unwrap(),
            "10.0.0.1:80".parse().unwrap(),
        )
        .unwrap();
        let tuple = attribute(&body[GENERIC..], CTA_TUPLE_ORIG).unwrap();
        let ports = attribute(tuple, CTA_TUPLE_PROTO).unwrap();
        assert_eq!(
            attribute(ports, CTA_PROTO_SRC_PORT),
            Some([1, 2].as_slice())
        );
        assert_eq!(
            attribute(attribute(tuple, CTA_TUPLE_IP).unwrap(), 1),
            Some([10, 0, 0, 2].as_slice())
        );
        assert!(
            lookup(
                "10.0.0.2:1".parse().unwrap(),
                "[fd00::1]:80".parse().unwrap()
            )
            .is_none()
        );
    }
}
