//! HBONE: connections as HTTP/2 CONNECT streams in mutual TLS.
pub mod authority;
mod choice;
mod dial;
mod error;
mod gathered;
pub mod headers;
mod liveness;
mod peer;
mod pool;
mod shared;
mod slots;
pub mod stream;
mod tunnel;
pub mod wire;

pub use dial::DialError;
pub use error::TunnelError;
pub use peer::Peer;
pub use pool::Pool;
pub use tunnel::TunnelStream;

/// Streams per connection, as Istio's.
pub const MAX_STREAMS: u32 = 100;
/// What a peer may send before it is read, bytes: on a stream, and on a connection. All streams
/// may stall at once and take nothing from the others.
pub const STREAM_WINDOW: u32 = MIB / 2;
pub const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Bytes in one frame.
pub const MAX_FRAME: u32 = MIB;
/// All headers of one request together, bytes.
pub const MAX_HEADERS: u32 = 16 * 1024;
/// What one stream may have queued for writing, bytes.
pub const SEND_BUFFER: usize = 1024 * 1024;

const MIB: u32 = 1024 * 1024;
