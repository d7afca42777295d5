//! `tulle-proxy`: reads its environment, runs until told to stop.
use std::process::ExitCode;

use tulle_proxy::config::Config;
use tulle_proxy::{logging, run};

fn main() -> ExitCode {
    // Before logging starts a thread.
    let keeps_memory = keep_freed_memory();
    let config = Config::read(|name| std::env::var(name).ok());
    let level = config.as_ref().map_or("info", |config| &config.log);
    let logging = match logging::start(level) {
        Ok(logging) => logging,
        Err(err) => {
            eprintln!("cannot start logging: {err}");
            return ExitCode::FAILURE;
        }
    };
    let config = match config {
        Ok(config) => config,
        Err(err) => {
            tracing::error!(%err, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    if !keeps_memory {
        tracing::warn!("the allocator keeps its defaults");
    }
    raise_descriptor_limit();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(run::run(config, &logging.dropped())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!(%err, "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Every proxied connection takes two descriptors; the soft limit is often 1,024.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(err) = raised {
        tracing::warn!(%err, "the limit of open files stays as it is");
    }
}

/// The buffers that bytes are moved in come and go quickly and are large: by default each would be
/// mapped, cleared page by page, and unmapped again by the kernel (mallopt(3)). What is kept is
/// bounded by the second threshold, bytes. Answers whether the allocator took both.
fn keep_freed_memory() -> bool {
    const MAPPED_FROM: i32 = 4 * 1024 * 1024;
    const KEPT: i32 = 16 * 1024 * 1024;
    let settings = [
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
        (libc::M_TRIM_THRESHOLD, KEPT),
    ];
    settings.into_iter().all(|(parameter, value)| {
        // SAFETY: mallopt only takes two numbers, and no other thread has been started yet.
        unsafe { libc::mallopt(parameter, value) != 0 }
    })
}
