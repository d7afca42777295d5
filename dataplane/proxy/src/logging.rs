//! JSON logs on standard output. Nothing here or elsewhere logs a token, a key or a request body.
use tracing_subscriber::EnvFilter;

/// Target of the access-log lines, so that they can be told from events.
pub const ACCESS: &str = "access";

/// Starts logging at `level` (`debug`, `info`, `warn`, `error`, or a filter expression).
pub fn start(level: &str) {
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
    let _already_started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
}
