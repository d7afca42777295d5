//! An `nft` that can be made to fail in one namespace.
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::PodNet;

/// In a directory that comes first in PATH. It fails as `nft` does that may not ask the kernel.
const SCRIPT: &str = r#"#!/bin/sh
if [ -e "$(dirname "$0")/$(stat -Lc %i /proc/self/ns/net)" ]; then
    echo "netlink: Error: cache initialization failed: Operation not permitted" >&2
    exit 1
fi
PATH="${PATH#*:}" exec nft "$@"
"#;

/// Puts the script in place; before anything of the test runs.
pub fn prepare() {
    directory();
}

pub fn fails_in(net: &PodNet) {
    std::fs::write(flag(net), "").unwrap();
}

pub fn works_in(net: &PodNet) {
    std::fs::remove_file(flag(net)).unwrap();
}

fn flag(net: &PodNet) -> PathBuf {
    let namespace = std::fs::metadata(net.pod_path()).unwrap().ino();
    directory().join(namespace.to_string())
}

fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nft");
        std::fs::write(&program, SCRIPT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        // SAFETY: it is set once; whoever reads the environment here does so by `std`, which locks it.
        unsafe { std::env::set_var("PATH", format!("{}:{path}", directory.path().display())) };
        directory
    };
    DIRECTORY.get_or_init(make).path()
}
