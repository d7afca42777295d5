//! A connection that this proxy carries: what moves its bytes, what is told of it, and what ends it.
mod pump;
mod record;
mod registry;
mod relay;
mod side;
mod tcp;

pub use pump::{Meter, Traffic, pump};
pub use record::{Record, refused};
pub use registry::{Basis, Question, Registered, Registry};
pub use relay::{Broken, relay};
pub use side::{Side, Sink, Source};
