//! One CONNECT stream as the side of a connection.
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::SEND_BUFFER;
use super::gathered::Gathered;
use crate::connection::{Side, Sink, Source};

/// A stream, whichever end of the tunnel opened it. Dropped before its end it is reset, after what is
/// queued for it.
pub struct H2Stream {
    pub source: H2Source,
    pub sink: H2Sink,
}

impl Side for H2Stream {
    fn split(&mut self) -> (impl Source, impl Sink) {
        (&mut self.source, &mut self.sink)
    }

    async fn end(&mut self) {
        // Fails only on a stream that is gone.
        let _gone = self.sink.finish().await;
    }

    async fn reset(&mut self) {}

    fn abort(&mut self) {
        self.sink.stream.send_reset(Reason::CANCEL);
    }
}

/// What comes in on the stream.
pub struct H2Source {
    stream: RecvStream,
    /// Bytes handed out for which the peer has not been given new room yet.
    unreleased: usize,
    gathered: Gathered,
}

impl H2Source {
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            unreleased: 0,
            gathered: Gathered::default(),
        }
    }
}

impl Source for H2Source {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        // What was handed out has been passed on by now; the peer may send as much again.
        let passed_on = std::mem::take(&mut self.unreleased);
        self.stream
            .flow_control()
            .release_capacity(passed_on)
            .map_err(error)?;
        loop {
            let piece = match self.gathered.take() {
                Some(piece) => piece,
                None if self.gathered.ended => return Ok(None),
                None => match self.stream.data().await {
                    None => return Ok(None),
                    Some(piece) => piece.map_err(error)?,
                },
            };
            if !piece.is_empty() {
                self.unreleased = piece.len();
                return Ok(Some(piece));
            }
        }
    }

    /// Each frame would be kept as it came, with all that it shares a buffer with. The peer gets no
    /// room for what waits here, so that this is a stream's window at most.
    async fn meanwhile(&mut self) -> io::Error {
        while !self.gathered.ended {
            match self.stream.data().await {
                None => self.gathered.ended = true,
                Some(Ok(piece)) => self.gathered.add(piece),
                Some(Err(err)) => return error(err),
            }
        }
        std::future::pending().await
    }
}

/// After a stream has waited so long for the peer to take more, its tunnel counts as stalled.
const STALLED_AFTER: Duration = Duration::from_millis(500);

/// What goes out on the stream. Dropping it before [`Sink::finish`] resets the stream.
pub struct H2Sink {
    stream: SendStream<Bytes>,
    /// Room for what is queued for writing, bytes.
    queue: Arc<Semaphore>,
    /// The streams of its tunnel that have long waited, where anybody asks.
    waiting: Option<Arc<AtomicUsize>>,
}

impl H2Sink {
    pub fn new(stream: SendStream<Bytes>) -> Self {
        Self {
            stream,
            queue: Arc::new(Semaphore::new(SEND_BUFFER)),
            waiting: None,
        }
    }

    /// A stream that counts itself in `waiting` while it has long waited for the peer to take more.
    pub fn shared(stream: SendStream<Bytes>, waiting: Arc<AtomicUsize>) -> Self {
        Self {
            waiting: Some(waiting),
            ..Self::new(stream)
        }
    }

    /// Waits until the peer takes more, bytes.
    async fn granted(&mut self) -> io::Result<usize> {
        let stream = &mut self.stream;
        let mut grant = poll_fn(|cx| stream.poll_capacity(cx));
        let granted = match &self.waiting {
            None => grant.await,
            Some(waiting) => match timeout(STALLED_AFTER, &mut grant).await {
                Ok(granted) => granted,
                Err(_) => {
                    let _counted = Counted::new(waiting);
                    grant.await
                }
            },
        };
        granted.ok_or_else(ended)?.map_err(error)
    }
}

/// What a piece in the queue takes beside its bytes, at most.
const PIECE: usize = 1024;

/// A piece that has its room in a queue until its last byte is written.
struct Queued {
    piece: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Queued {
    /// Waits for room for `piece`; one that is larger than the queue takes all of it.
    async fn wait(queue: &Arc<Semaphore>, piece: Bytes) -> io::Result<Bytes> {
        let takes = (piece.len() + PIECE).min(SEND_BUFFER);
        let takes = u32::try_from(takes).map_err(io::Error::other)?;
        let room = queue.clone().acquire_many_owned(takes).await;
        let _room = room.map_err(io::Error::other)?;
        Ok(Bytes::from_owner(Self { piece, _room }))
    }
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

/// One more in a count, until dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sink for H2Sink {
    async fn send(&mut self, piece: Bytes) -> io::Result<()> {
        let mut piece = Queued::wait(&self.queue, piece).await?;
        while !piece.is_empty() {
            self.stream.reserve_capacity(piece.len());
            let granted = match self.stream.capacity() {
                0 => self.granted().await?,
                at_once => at_once,
            };
            let part = piece.split_to(granted.min(piece.len()));
            self.stream.send_data(part, false).map_err(error)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.stream.send_data(Bytes::new(), true).map_err(error)
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel's stream was closed")
}

fn error(err: h2::Error) -> io::Error {
    if let Some(reason @ (Reason::CANCEL | Reason::NO_ERROR | Reason::STREAM_CLOSED)) = err.reason()
    {
        return io::Error::new(
            io::ErrorKind::ConnectionReset,
            format!("the tunnel's stream was reset: {reason}"),
        );
    }
    io::Error::other(err)
}
