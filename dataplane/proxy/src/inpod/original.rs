//! Where a redirected connection was going.
use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination before the redirect.
///
/// # Errors
/// When the connection was not redirected but aimed at the proxy itself.
pub fn destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = canonical(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    }?;
    let original = original
        .as_socket()
        .map(canonical)
        .ok_or_else(|| io::Error::other("the original destination is no address"))?;
    if original == local {
        return Err(io::Error::other("the connection was not redirected here"));
    }
    Ok(original)
}

/// An IPv4 address that comes mapped into IPv6, as on a dual-stack listener, as what it is.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
