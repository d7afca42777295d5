//! The trace that both ends of a tunnel log a connection under.

/// A trace that begins here (W3C Trace Context), unsampled: bytes passed through carry none that we could see.
pub struct Trace {
    pub(super) id: u128,
    pub(super) span: u64,
}

impl Trace {
    /// A new trace; both ids are not zero, which the specification reserves.
    #[expect(
        clippy::new_without_default,
        reason = "each is another, there is no default one"
    )]
    pub fn new() -> Self {
        Self {
            id: fastrand::u128(1..),
            span: fastrand::u64(1..),
        }
    }

    /// The id under which the logs of both ends can be found.
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// As the `traceparent` header has it.
    pub fn parent(&self) -> String {
        format!("00-{:032x}-{:016x}-00", self.id, self.span)
    }
}
