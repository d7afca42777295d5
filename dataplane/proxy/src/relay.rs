//! Moving bytes between two connections, each direction by itself.
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

const SMALLEST_READ: usize = 64 * 1024;
const LARGEST_READ: usize = 256 * 1024;

/// Where bytes come from, a piece at a time; none at the end.
pub trait Source: Send {
    /// The allocation of a piece is at most about twice as large as the piece.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;

    /// Takes care of what arrives while the last piece cannot be passed on. Resolves when nothing
    /// more will ever be.
    fn meanwhile(&mut self) -> impl Future<Output = io::Error> + Send {
        std::future::pending()
    }
}

/// Where bytes go. A piece is taken whole before the next is asked for, so no
/// more than one is held here.
pub trait Sink: Send {
    fn send(&mut self, piece: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// Ends this direction; the other goes on.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Counts bytes as they pass.
#[derive(Clone, Default)]
pub struct Meter {
    pub total: Counter,
    pub connection: Counter,
}

impl Meter {
    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.total.inc_by(bytes);
        self.connection.inc_by(bytes);
    }
}

/// Moves bytes from `source` to `sink` until the end, and passes the end on.
///
/// # Errors
/// As either side fails.
pub async fn pump(source: &mut impl Source, sink: &mut impl Sink, meter: &Meter) -> io::Result<()> {
    while let Some(piece) = source.next().await? {
        meter.count(piece.len());
        tokio::select! {
            biased;
            sent = sink.send(piece) => sent?,
            broken = source.meanwhile() => return Err(broken),
        }
    }
    sink.finish().await
}

thread_local! {
    /// What is read into, until most of it has been filled.
    static READ_BUFFER: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// The reading half of a TCP connection. Holds no buffer while nothing comes.
pub struct TcpSource<'a> {
    half: ReadHalf<'a>,
    size: usize,
}

/// The writing half of a TCP connection.
pub struct TcpSink<'a>(WriteHalf<'a>);

/// How long the other side of a connection that we have ended may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// Ends a connection as a server does that has said everything. What still comes is read and thrown
/// away: to close a connection with bytes unread would reset it.
pub async fn end(stream: &mut TcpStream) {
    let ending = async {
        AsyncWriteExt::shutdown(stream).await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await
    };
    // Whether the other side ends too, fails, or says nothing more: it has been told.
    let _told = timeout(LINGER, ending).await;
}

/// Both halves of a connection.
pub fn split(stream: &mut TcpStream) -> (TcpSource<'_>, TcpSink<'_>) {
    let (read, write) = stream.split();
    let source = TcpSource {
        half: read,
        size: SMALLEST_READ,
    };
    (source, TcpSink(write))
}

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
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn an_end_in_one_direction_leaves_the_other_open() {
        let (mut client, mut near) = pair().await;
        let (mut far, mut server) = pair().await;
        let meters = (Meter::default(), Meter::default());
        let counted = meters.clone();
        let relay = tokio::spawn(async move {
            let (mut near_source, mut near_sink) = split(&mut near);
            let (mut far_source, mut far_sink) = split(&mut far);
            tokio::try_join!(
                pump(&mut near_source, &mut far_sink, &meters.0),
                pump(&mut far_source, &mut near_sink, &meters.1),
            )
        });
        let question = vec![7u8; 3 * LARGEST_READ];
        let ask = question.clone();
        let asking = tokio::spawn(async move {
            client.write_all(&ask).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let mut heard = Vec::new();
        let hearing = server.read_to_end(&mut heard);
        // An end that is not passed on would be waited for without end.
        tokio::time::timeout(std::time::Duration::from_secs(10), hearing)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(heard, question);
        // The client has ended; the server has not.
        server.write_all(b"late answer").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(asking.await.unwrap(), b"late answer");
        relay.await.unwrap().unwrap();
        assert_eq!(counted.0.connection.get(), question.len() as u64);
        assert_eq!(counted.1.total.get(), 11);
    }

    #[tokio::test]
    async fn r34_a_connection_that_is_ended_ends_cleanly_with_bytes_unread() {
        let (mut client, mut near) = pair().await;
        client
            .write_all(b"a question that nobody reads")
            .await
            .unwrap();
        near.readable().await.unwrap();
        let ending = tokio::spawn(async move { end(&mut near).await });
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        client.write_all(b"and another").await.unwrap();
        client.shutdown().await.unwrap();
        ending.await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "no reset");
    }
}
