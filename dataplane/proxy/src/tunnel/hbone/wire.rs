//! The bytes below TLS, in large pieces: rustls reads a record at a time and would ask the
//! kernel for each: several calls where one will do.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Read ahead at most, bytes; per tunnel, not per stream.
const READ: usize = 128 * 1024;
/// Encrypted and not yet written at most, bytes.
const WRITE: usize = 256 * 1024;

/// A TCP connection that is read ahead of. Holds no buffer while nothing comes: who only connects
/// costs none, nor does a tunnel that is idle.
pub struct Wire {
    tcp: TcpStream,
    ahead: BytesMut,
}

pub fn wire(tcp: TcpStream) -> Wire {
    Wire {
        tcp,
        ahead: BytesMut::new(),
    }
}

/// Lets a session gather more records before they are written.
pub fn large_writes<Data>(session: &mut rustls::ConnectionCommon<Data>) {
    session.set_buffer_limit(Some(WRITE));
}

impl Wire {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            let mut ahead = BytesMut::with_capacity(READ);
            match self.tcp.try_read_buf(&mut ahead) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.ahead = ahead;
                    return Poll::Ready(read.map(drop));
                }
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let count = self.ahead.len().min(into.remaining());
        into.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
