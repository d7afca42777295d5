use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use super::{PodRules, node_table, node_table_removal, pod_routes, pod_table, pod_table_removal};
use crate::netns::Netns;
use crate::sockets::Conntrack;

#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("cannot run {program}: {cause}")]
    Run {
        program: &'static str,
        cause: io::Error,
    },
    #[error("{program} failed: {message}")]
    Refused {
        program: &'static str,
        message: String,
    },
}

/// Writes rules by the programs `nft` and `ip`. Every method can be repeated.
#[derive(Clone, Debug, Default)]
pub struct RuleInstaller;

impl RuleInstaller {
    /// Routes first: a captured connection never meets rules without them.
    pub async fn write_pod_rules(
        &self,
        namespace: &Netns,
        rules: PodRules,
        ipv6: bool,
    ) -> Result<(), RuleError> {
        inside(namespace, move || {
            route(4, &pod_routes(4).add, &["File exists"])?;
            let v6 = route(6, &pod_routes(6).add, &["File exists"]);
            if ipv6 {
                v6?;
            }
            nft(&pod_table(&rules))
        })
        .await
    }

    pub async fn remove_pod_rules(&self, namespace: &Netns) -> Result<(), RuleError> {
        inside(namespace, || {
            nft(pod_table_removal())?;
            if let Err(err) = Conntrack::open().and_then(|mut tracked| tracked.forget()) {
                tracing::warn!(%err, "connection tracking keeps what it knew of a pod that left: where the pod comes back \
                    within minutes, a connection from a port it had may be refused");
            }
            let gone = [
                "No such file or directory",
                "No such process",
                "does not exist",
                "not supported",
            ];
            route(4, &pod_routes(4).remove, &gone)?;
            route(6, &pod_routes(6).remove, &gone)
        })
        .await
    }

    /// Whether a table of ours, complete or draining, is in the pod. An error
    /// when that cannot be told: it is no answer.
    pub async fn has_pod_rules(&self, namespace: &Netns) -> Result<bool, RuleError> {
        inside(namespace, || {
            let output = run("nft", &["list", "tables"], "")?;
            if !output.status.success() {
                return Err(refused("nft", &output));
            }
            let tables = String::from_utf8_lossy(&output.stdout);
            Ok(tables.lines().any(|line| line.trim() == "table inet tulle"))
        })
        .await
    }

    pub(super) async fn write_node_table(&self, pods: &BTreeSet<IpAddr>) -> Result<(), RuleError> {
        let script = node_table(pods);
        here(move || nft(&script)).await
    }

    pub(super) async fn remove_node_table(&self) -> Result<(), RuleError> {
        here(|| nft(node_table_removal())).await
    }
}

async fn inside<T: Send + 'static>(
    namespace: &Netns,
    work: impl FnOnce() -> Result<T, RuleError> + Send + 'static,
) -> Result<T, RuleError> {
    namespace
        .run(move || Ok(work()))
        .await
        .map_err(|cause| RuleError::Run {
            program: "setns",
            cause,
        })?
}

async fn here(
    work: impl FnOnce() -> Result<(), RuleError> + Send + 'static,
) -> Result<(), RuleError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|ended| RuleError::Run {
            program: "nft",
            cause: io::Error::other(ended),
        })?
}

fn nft(script: &str) -> Result<(), RuleError> {
    let output = run("nft", &["-f", "-"], script)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(refused("nft", &output))
    }
}

/// Runs a batch of `ip`; lines that fail with one of `accepted` have their effect already.
fn route(version: u8, batch: &str, accepted: &[&str]) -> Result<(), RuleError> {
    let family = if version == 6 { "-6" } else { "-4" };
    let output = run("ip", &["-force", family, "-batch", "-"], batch)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let unexpected = errors
        .lines()
        .filter(|line| !line.starts_with("Command failed") && !line.trim().is_empty())
        .any(|line| !accepted.iter().any(|text| line.contains(text)));
    if output.status.success() || !unexpected {
        Ok(())
    } else {
        Err(refused("ip", &output))
    }
}

fn refused(program: &'static str, output: &Output) -> RuleError {
    let text = String::from_utf8_lossy(&output.stderr);
    let message = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(400)
        .collect();
    RuleError::Refused { program, message }
}

fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<Output, RuleError> {
    let attempt = || -> io::Result<Output> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Scripts are far smaller than a pipe's buffer: writing all before reading cannot block.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    attempt().map_err(|cause| RuleError::Run { program, cause })
}
