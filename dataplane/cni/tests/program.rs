//! The plugin as the container runtime runs it: by its standard streams and its exit code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the plugin on a node without an agent.
fn run(command: &str, namespace: &str) -> Output {
    let node = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tulle-cni"))
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", "/proc/self/ns/net")
        .env(
            "CNI_ARGS",
            format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=cart"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let config = serde_json::json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "tulle-cni",
        "runDir": node.path(), "prevResult": { "ips": [] },
    });
    let mut stdin = child.stdin.take().unwrap();
    match stdin.write_all(config.to_string().as_bytes()) {
        // It may have ended without reading its input, which goes into the pipe where it is quick.
        Err(err) if err.kind() != std::io::ErrorKind::BrokenPipe => panic!("{err}"),
        _ => drop(stdin),
    }
    child.wait_with_output().unwrap()
}

#[test]
fn r24_a_pod_that_is_refused_fails_by_exit_code_and_says_why() {
    let output = run("ADD", "shop");
    // The runtime starts the pod on 0, whatever is printed.
    assert_eq!(output.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["code"], 11, "try again later");
    assert!(error["msg"].as_str().unwrap().contains("shop/cart"));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("shop/cart")
    );
}

#[test]
fn a_command_it_does_not_know_fails() {
    let output = run("JUGGLE", "shop");
    assert_eq!(output.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["code"], 4);
}

#[test]
fn what_is_done_succeeds_with_the_result_alone_on_standard_output() {
    let output = run("ADD", "kube-system");
    assert!(output.status.success());
    assert_eq!(output.stdout, br#"{"ips":[]}"#);
    assert!(run("DEL", "shop").status.success(), "DEL never fails");
}
