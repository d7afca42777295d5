//! Compiles `proto/` at the repository's root. protox is a compiler in Rust,
//! so that no protoc needs to be installed.
use std::path::Path;

const FILES: [&str; 5] = [
    "envoy/service/discovery/v3/discovery.proto",
    "istio/ca/ca.proto",
    "istio/security/authorization.proto",
    "istio/workload/workload.proto",
    "zds/zds.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../../proto");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
