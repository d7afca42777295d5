//! HBONE: connections as HTTP/2 CONNECT streams in mutual TLS.
pub mod authority;
mod dial;
pub mod headers;
pub mod pool;
pub mod stream;
pub mod wire;

/// Bytes in flight per stream, per connection, and per frame, and streams per connection, as the wire page has them.
pub const STREAM_WINDOW: u32 = 4 * MIB;
pub const CONNECTION_WINDOW: u32 = 16 * MIB;
pub const MAX_FRAME: u32 = MIB;
pub const MAX_STREAMS: u32 = 100;
/// All headers of one request together, bytes.
pub const MAX_HEADERS: u32 = 16 * 1024;
/// What one stream may have queued for writing, bytes.
pub const SEND_BUFFER: usize = 1024 * 1024;

const MIB: u32 = 1024 * 1024;
