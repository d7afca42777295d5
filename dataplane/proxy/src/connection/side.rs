//! One side of a connection: a client, a server, or the tunnel that leads to one.
use std::future::Future;
use std::io;

use bytes::Bytes;

/// Where bytes come from, a piece at a time; none at the end.
pub trait Source: Send {
    /// The allocation of a piece is at most about twice as large as the piece.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;

    /// Takes care of what arrives while the last piece cannot be passed on. Resolves when nothing
    /// more will ever be; what has arrived is still to be had.
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

impl<S: Source> Source for &mut S {
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send {
        S::next(self)
    }

    fn meanwhile(&mut self) -> impl Future<Output = io::Error> + Send {
        S::meanwhile(self)
    }
}

impl<S: Sink> Sink for &mut S {
    fn send(&mut self, piece: Bytes) -> impl Future<Output = io::Result<()>> + Send {
        S::send(self, piece)
    }

    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        S::finish(self)
    }
}

/// Both directions of one side, and the ways to end it. After one of those it is only dropped.
pub trait Side: Send {
    fn split(&mut self) -> (impl Source, impl Sink);

    /// Ends it as who has said everything does, though more may still come.
    fn end(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends it as a failure once the other end has what it was sent, or takes too long.
    fn reset(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends it as a failure at once.
    fn abort(&mut self);
}
