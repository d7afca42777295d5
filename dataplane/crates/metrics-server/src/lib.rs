//! `/metrics` over TLS, for callers with a token whom the API server lets read it, as other
//! operators do. The agent asks the API server; a proxy, which has no right to, asks its agent.
mod access;
mod agent;
mod server;

pub use access::{Access, Authorize};
pub use agent::{AskAgent, SOCKET_NAME, serve_proxies};
pub use server::{Error, MetricsServer};
