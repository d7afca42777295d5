//! Connections made to the pod's applications.
mod authorize;
mod forward;
mod handshake;
mod hbone;
mod plaintext;

pub use authorize::denied_now;
pub use hbone::serve as serve_hbone;
pub use plaintext::serve as serve_plaintext;
