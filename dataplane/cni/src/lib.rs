//! tulle-cni: the last plugin in the node's CNI chain. It changes nothing
//! itself: it asks tulle-agent to enrol a starting pod and passes on what the
//! plugins before it made, or refuses the start when the pod should be in the
//! mesh and is not (CNI specification 1.1.0).
mod add;
mod agent;
mod config;
mod environment;
mod error;

use std::io::{Read, Write};

pub use config::{Config, MAX_CONFIG};
pub use environment::{Command, Environment};
pub use error::{CniError, Code};

/// Versions of the CNI specification a chained plugin can be called with.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Runs one command: the configuration from `input`, the result to `output`.
/// What failed is for the caller to print (see [`CniError::to_json`]).
pub fn run(
    environment: &Environment,
    input: impl Read,
    output: &mut impl Write,
) -> Result<(), CniError> {
    match environment.command()? {
        Command::Add => {
            let config = Config::read(input)?;
            let result = add::add(environment, &config)?;
            write(output, result)
        }
        Command::Del => {
            // The pod is over either way, and a DEL that fails is repeated for ever.
            if let Err(error) =
                Config::read(input).map(|config| agent::release(environment, &config))
            {
                eprintln!("tulle-cni: DEL: {error}");
            }
            Ok(())
        }
        Command::Version => {
            let wanted = Config::read(input)
                .ok()
                .and_then(|config| config.cni_version);
            let answer = serde_json::json!({
                "cniVersion": wanted.as_deref().unwrap_or("1.1.0"),
                "supportedVersions": VERSIONS,
            });
            write(output, &answer.to_string())
        }
        Command::Check | Command::Status | Command::Gc => Ok(()),
    }
}

fn write(output: &mut impl Write, text: &str) -> Result<(), CniError> {
    output
        .write_all(text.as_bytes())
        .map_err(|cause| CniError::new(Code::Io, format!("writing the result: {cause}")))
}
