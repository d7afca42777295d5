//! A connection that this proxy carries.
mod pump;
mod relay;
mod side;
mod tcp;

pub use pump::{Meter, Traffic, pump};
pub use relay::{Broken, relay};
pub use side::{Side, Sink, Source};
