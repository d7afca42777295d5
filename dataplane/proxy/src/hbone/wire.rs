//! The bytes below TLS, in large pieces: rustls reads a record at a time and would ask the
//! kernel for each: several calls where one will do.
use tokio::io::BufReader;
use tokio::net::TcpStream;

/// Read ahead at most, bytes; per tunnel, not per stream.
const READ: usize = 128 * 1024;
/// Encrypted and not yet written at most, bytes.
const WRITE: usize = 256 * 1024;

/// A TCP connection that is read ahead of.
pub type Wire = BufReader<TcpStream>;

pub fn wire(tcp: TcpStream) -> Wire {
    BufReader::with_capacity(READ, tcp)
}

/// Lets a session gather more records before they are written.
pub fn large_writes<Data>(session: &mut rustls::ConnectionCommon<Data>) {
    session.set_buffer_limit(Some(WRITE));
}
