//! JSON logs on standard output. Nothing here or elsewhere logs a token, a key or a request body.
use std::io;

use tracing_subscriber::EnvFilter;
pub use tulle_log_writer::{ACCESS, Logging};

/// Starts logging at `level` (`debug`, `info`, `warn`, `error`, or a filter expression), until what it returns is dropped.
///
/// # Errors
/// When the writing thread cannot be started.
pub fn start(level: &str) -> io::Result<Logging> {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // The libraries below speak of every frame at debug; their warnings are enough.
    let filter = [
        "h2=warn",
        "hyper=warn",
        "hyper_util=warn",
        "tonic=warn",
        "tower=warn",
        "rustls=warn",
        "access=info",
    ]
    .into_iter()
    .filter_map(|directive| directive.parse().ok())
    .fold(filter, EnvFilter::add_directive);
    tulle_log_writer::start(filter)
}
