//! Making the sockets a pod needs. A socket belongs to the namespace it was made in, wherever it is used.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, TcpUserTimeout};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use tulle_names::PROXY_MARK;

use super::netns::NetNs;

const BACKLOG: i32 = 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long sent data may stay unacknowledged before a dead peer is given up.
const UNACKNOWLEDGED: u32 = 60_000;

/// Opens a listener on all the pod's addresses, that nobody shares.
///
/// # Errors
/// When the pod itself already listens there, or the namespace is gone.
pub fn listen(netns: &NetNs, port: u16) -> io::Result<TcpListener> {
    let socket =
        netns.run(
            || match listening(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into(), port) {
                // A kernel without IPv6, or a namespace with it disabled.
                Err(err)
                    if matches!(
                        err.raw_os_error(),
                        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                    ) =>
                {
                    listening(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into(), port)
                }
                other => other,
            },
        )?;
    TcpListener::from_std(socket.into())
}

/// Listens with a socket that somebody else has made.
///
/// # Errors
/// When it is not listening, or not on this port.
pub fn listener(descriptor: OwnedFd, port: u16) -> io::Result<TcpListener> {
    let socket = Socket::from(descriptor);
    let address = socket.local_addr()?.as_socket();
    if !socket.is_listener()? || address.is_none_or(|address| address.port() != port) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The flag is the socket's, not the descriptor's: it is the same for all who hold it.
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn listening(domain: Domain, ip: IpAddr, port: u16) -> io::Result<Socket> {
    let socket = stream(domain)?;
    // What it accepts inherits the mark, where everybody can read it: never the secret one.
    socket.set_mark(PROXY_MARK)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    // Shares no listening port (socket(7)); the port can be bound while connections of an earlier
    // listener are remembered (TIME_WAIT).
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(ip, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A socket that the pod's rules know as the proxy's.
fn owned(netns: &NetNs, domain: Domain) -> io::Result<Socket> {
    let Some(owner) = netns.owner() else {
        let socket = stream(domain)?;
        socket.set_mark(PROXY_MARK)?;
        return Ok(socket);
    };
    owner.open(|| stream(domain))
}

fn stream(domain: Domain) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(domain, kind, Some(Protocol::TCP))
}

/// Connects from the pod's namespace, as the pod.
///
/// # Errors
/// When the connection is not there after five seconds.
pub async fn connect(netns: &NetNs, to: SocketAddr) -> io::Result<TcpStream> {
    finish(netns.run(|| owned(netns, Domain::for_address(to)))?, to).await
}

/// Connects within the pod with the peer's address as the source, so that the application sees who calls.
///
/// # Errors
/// As [`connect`]; also when `source` and `to` are of different families.
pub async fn connect_from(netns: &NetNs, source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = netns.run(|| owned(netns, Domain::for_address(to)))?;
    match source {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    // The port is chosen at connect, for this destination only: a peer may have
    // more connections than there are ports.
    setsockopt(&socket.as_fd(), IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    finish(socket, to).await
}

async fn finish(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    let stream = tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tune(&stream)?;
    Ok(stream)
}

/// Settings every proxied connection has.
///
/// # Errors
/// When the connection is already gone.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}

/// Gives up a connection whose other end no longer acknowledges: tunnels outlive
/// the node they lead to otherwise.
///
/// # Errors
/// When the connection is already gone.
pub fn notice_dead_peer(stream: &TcpStream) -> io::Result<()> {
    Ok(setsockopt(
        &stream.as_fd(),
        TcpUserTimeout,
        &UNACKNOWLEDGED,
    )?)
}

/// Makes closing this connection a reset, so that the other end sees a failure and no regular end.
pub fn reset_on_close(stream: &TcpStream) {
    // Only fails on a connection that is gone, which is what is wanted.
    let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
