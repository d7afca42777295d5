//! One CONNECT stream as a connection.
use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::relay::{Sink, Source};

/// What comes in on the stream.
pub struct H2Source {
    stream: RecvStream,
    /// Bytes handed out for which the peer has not been given new room yet.
    unreleased: usize,
}

impl H2Source {
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            unreleased: 0,
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
            match self.stream.data().await {
                None => return Ok(None),
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.unreleased = piece.len();
                    return Ok(Some(piece));
                }
                Some(Err(err)) => return Err(error(err)),
            }
        }
    }
}

/// What goes out on the stream. Dropping it before [`Sink::finish`] resets the stream.
pub struct H2Sink(pub SendStream<Bytes>);

impl Sink for H2Sink {
    async fn send(&mut self, mut piece: Bytes) -> io::Result<()> {
        while !piece.is_empty() {
            self.0.reserve_capacity(piece.len());
            let granted = match self.0.capacity() {
                0 => poll_fn(|cx| self.0.poll_capacity(cx))
                    .await
                    .ok_or_else(ended)?
                    .map_err(error)?,
                at_once => at_once,
            };
            let part = piece.split_to(granted.min(piece.len()));
            self.0.send_data(part, false).map_err(error)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.send_data(Bytes::new(), true).map_err(error)
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
