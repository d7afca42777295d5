//! Plain HTTP/1 requests to the proxy's own pages.
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::network::Ns;

/// Status and body.
pub type Page = (u16, String);

pub fn get_unix(socket: &Path, path: &str) -> io::Result<Page> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    get(stream, path)
}

/// Asks a port of the node's namespace.
pub fn get_port(host: &Ns, port: u16, path: &str) -> io::Result<Page> {
    get_address(host, (Ipv4Addr::LOCALHOST, port).into(), path)
}

/// The same at one of the node's addresses, and from it.
pub fn get_address(host: &Ns, address: SocketAddr, path: &str) -> io::Result<Page> {
    host.run(|| {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        get(stream, path)
    })
}

fn get(mut stream: impl Read + Write, path: &str) -> io::Result<Page> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}
