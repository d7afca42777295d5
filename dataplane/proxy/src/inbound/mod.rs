//! Connections made to the pod's applications.
mod authorize;
mod forward;
mod handshake;
mod hbone;
mod live;
mod plaintext;
mod turns;

pub use hbone::serve as serve_hbone;
pub use live::{Live, watch_policies};
pub use plaintext::serve as serve_plaintext;
pub use turns::Handshakes;
