//! The HTTP/1 server of the node's programs: probes, metrics and admin pages on ports, status and orders on unix
//! sockets. Each connection has one request, and the same limits wherever it comes in.
mod answer;
mod callers;
mod connection;
mod port;
mod socket;

pub use answer::Answer;
pub use connection::{body, serve_connection};
pub use port::{accept, any_address, listen, serve_port};
pub use socket::{listen_unix, serve_unix};
