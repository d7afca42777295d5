//! Waiting between tries.
use std::time::Duration;

/// Between half of `wait` and all of it, so that nodes do not write in step.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
