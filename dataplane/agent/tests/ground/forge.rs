//! What a process with CAP_NET_RAW or CAP_SETUID can do in its own network namespace.
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::sys::time::TimeValLike;
use tulle_agent::netns::Netns;

/// Sends one TCP segment with only ACK set and an MD5 signature option (RFC 2385): the receiver,
/// which expects no signature, drops it without a word, but its connection tracker has seen it.
pub async fn bare_ack(namespace: &Netns, from: SocketAddr, to: SocketAddr) {
    let segment = segment(from, to);
    namespace
        .run(move || {
            let raw = open(from, SockType::Raw)?;
            bind(raw.as_raw_fd(), &at(from.ip(), 0))?;
            let sent = sendto(
                raw.as_raw_fd(),
                &segment,
                &at(to.ip(), 0),
                MsgFlags::empty(),
            )?;
            assert_eq!(sent, segment.len());
            Ok(())
        })
        .await
        .unwrap();
}

/// An ordinary `connect()` from a given address and port, given up after two seconds.
pub async fn connect_from(
    namespace: &Netns,
    from: SocketAddr,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    namespace
        .run(move || {
            let fd = open(from, SockType::Stream)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
            establish(fd, to)
        })
        .await
}

/// A connection of a socket that carries a packet mark.
pub async fn connect_marked(namespace: &Netns, mark: u32, to: SocketAddr) -> io::Result<TcpStream> {
    namespace
        .run(move || {
            let fd = open(to, SockType::Stream)?;
            setsockopt(&fd, sockopt::Mark, &mark)?;
            establish(fd, to)
        })
        .await
}

fn establish(fd: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::seconds(2))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

fn open(family: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let domain = if family.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    Ok(socket(
        domain,
        kind,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Tcp,
    )?)
}

fn at(ip: IpAddr, port: u16) -> SockaddrStorage {
    SockaddrStorage::from(SocketAddr::new(ip, port))
}

fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    const ACK: u8 = 0x10;
    const MD5_SIGNATURE: [u8; 2] = [19, 18];
    const LENGTH: usize = 40;
    let mut tcp = Vec::with_capacity(LENGTH);
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 1]);
    tcp.extend([u8::try_from(LENGTH / 4).unwrap() << 4, ACK, 0xff, 0xff]);
    tcp.extend([0; 4]);
    tcp.extend(MD5_SIGNATURE);
    tcp.extend([0; 16]);
    tcp.extend([1, 1]);
    let sum = checksum(from.ip(), to.ip(), &tcp).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    tcp
}

/// RFC 9293, section 3.1, with the pseudo header of either family.
fn checksum(from: IpAddr, to: IpAddr, tcp: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for ip in [from, to] {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(u32::try_from(tcp.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 6]);
    bytes.extend(tcp);
    folded(&bytes)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn folded(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// Sends the same segment in an Ethernet frame of its own making with priority tags (VLAN
/// identifier 0) of these types (IEEE 802.1Q), past the sender's own network stack (packet(7)).
pub async fn tagged_ack(
    namespace: &Netns,
    to_mac: [u8; 6],
    tags: &[u16],
    from: SocketAddr,
    to: SocketAddr,
) {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        panic!("frames are made for IPv4 only");
    };
    let segment = segment(from, to);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let length = u16::try_from(packet.len() + segment.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = folded(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(segment);
    let mut frame = to_mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 0]);
    }
    frame.extend([8, 0]);
    frame.extend(packet);
    namespace
        .run(move || {
            let link = nix::net::if_::if_nametoindex("eth0")?;
            // SAFETY: the structure is plain numbers, for which all zeros is a value.
            let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            address.sll_family = libc::AF_PACKET.try_into().unwrap();
            address.sll_ifindex = link.try_into().unwrap();
            // SAFETY: no pointers; the descriptor returned is owned at once.
            let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
            assert!(raw >= 0, "{}", io::Error::last_os_error());
            // SAFETY: the kernel has just made this descriptor for us.
            let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw) };
            // SAFETY: frame and address outlive the call, and the lengths are theirs.
            let sent = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    std::ptr::from_ref(&address).cast(),
                    size_of::<libc::sockaddr_ll>().try_into().unwrap(),
                )
            };
            assert_eq!(usize::try_from(sent).unwrap(), frame.len());
            Ok(())
        })
        .await
        .unwrap();
}
