//! Random input for tests: always the same, so that what was once found stays found, and another
//! each time, so that more is.
use fastrand::Rng;

/// The seed that every run tries.
const FIXED: u64 = 28;

/// Runs `round` so many times with each seed. A round that fails names the seed it had.
pub fn rounds(count: usize, mut round: impl FnMut(&mut Rng)) {
    for seed in [FIXED, fastrand::u64(..)] {
        let named = Named(seed);
        let mut random = Rng::with_seed(seed);
        for _ in 0..count {
            round(&mut random);
        }
        drop(named);
    }
}

/// Dropped by a panic, it prints the seed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}
