//! A TCP connection as a side.
use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::side::{Side, Sink, Source};
use crate::inpod::socket;

const SMALLEST_READ: usize = 64 * 1024;
const LARGEST_READ: usize = 256 * 1024;

/// How long the other end of a connection that we end may go on sending, or taking what it was sent.
const LINGER: Duration = Duration::from_secs(2);
/// Between two looks at whether it has taken that: the kernel does not say when.
const LOOK: Duration = Duration::from_millis(10);

impl Side for TcpStream {
    fn split(&mut self) -> (impl Source, impl Sink) {
        let (half, write) = self.split();
        let source = TcpSource {
            half,
            size: SMALLEST_READ,
        };
        (source, TcpSink(write))
    }

    /// What still comes is read and thrown away: to close a connection with bytes unread would reset it.
    async fn end(&mut self) {
        let ending = async {
            self.shutdown().await?;
            tokio::io::copy(self, &mut tokio::io::sink()).await
        };
        // Whether the other end ends too, fails, or says nothing more: it has been told.
        let _told = timeout(LINGER, ending).await;
    }

    async fn reset(&mut self) {
        let taken = async {
            while unacknowledged(self).is_ok_and(|bytes| bytes > 0) {
                sleep(LOOK).await;
            }
        };
        let _in_time = timeout(LINGER, taken).await;
        self.abort();
    }

    fn abort(&mut self) {
        socket::reset_on_close(self);
    }
}

/// What the other end has not acknowledged yet, bytes.
fn unacknowledged(stream: &TcpStream) -> io::Result<libc::c_int> {
    if let Some(broken) = stream.take_error()? {
        return Err(broken);
    }
    let mut bytes = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int (tcp(7), SIOCOUTQ).
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    nix::errno::Errno::result(result)?;
    Ok(bytes)
}

thread_local! {
    /// What is read into, until most of it has been filled.
    static READ_BUFFER: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// The reading half of a TCP connection. Holds no buffer while nothing comes.
struct TcpSource<'a> {
    half: ReadHalf<'a>,
    size: usize,
}

/// The writing half of a TCP connection.
struct TcpSink<'a>(WriteHalf<'a>);

impl Source for TcpSource<'_> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            self.half.readable().await?;
            let mut buffer = READ_BUFFER.take();
            if buffer.capacity() < self.size {
                buffer = BytesMut::with_capacity(self.size);
            }
            let read = self.half.try_read_buf(&mut buffer);
            let filled = matches!(read, Ok(count) if count >= buffer.capacity() / 2);
            let piece = if filled {
                buffer.freeze()
            } else {
                // A small piece would hold the whole buffer for as long as it waits somewhere.
                let piece = Bytes::copy_from_slice(&buffer);
                buffer.clear();
                READ_BUFFER.set(buffer);
                piece
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    // Bulk fills the buffer and gets a larger one; chatter stays small.
                    self.size = if count >= self.size {
                        LARGEST_READ
                    } else {
                        SMALLEST_READ
                    };
                    return Ok(Some(piece));
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Err(err),
            }
        }
    }
}

impl Sink for TcpSink<'_> {
    async fn send(&mut self, mut piece: Bytes) -> io::Result<()> {
        while piece.has_remaining() {
            self.0.writable().await?;
            match self.0.try_write(&piece) {
                Ok(count) => piece.advance(count),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
#[path = "tcp_test.rs"]
mod tests;
