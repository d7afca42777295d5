//! Asking tulle-agent.
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tulle_cni_protocol::{ProtocolError, Request, Response, SOCKET_NAME, Sandbox, receive, send};

use crate::config::Config;
use crate::environment::Environment;

/// Longer than the agent takes at most for a pod's start (20 s).
const ADD_LIMIT: Duration = Duration::from_secs(30);
const DEL_LIMIT: Duration = Duration::from_secs(2);

/// Asks for a starting pod to be enrolled, if it is to be. An error: the agent did not answer.
pub fn enrol(config: &Config, sandbox: Sandbox, netns: &File) -> Result<Response, ProtocolError> {
    ask(config, &Request::Add(sandbox), Some(netns), ADD_LIMIT)
}

/// Tells that a sandbox is over. Nobody waits for this to work: the agent sees it by itself, later.
pub fn release(environment: &Environment, config: &Config) {
    let Some(sandbox) = environment.sandbox() else {
        return;
    };
    let netns = environment
        .netns
        .as_ref()
        .and_then(|path| File::open(path).ok());
    if let Err(error) = ask(config, &Request::Del(sandbox), netns.as_ref(), DEL_LIMIT) {
        eprintln!("tulle-cni: DEL: tulle-agent does not answer: {error}");
    }
}

fn ask(
    config: &Config,
    request: &Request,
    netns: Option<&File>,
    limit: Duration,
) -> Result<Response, ProtocolError> {
    let stream = UnixStream::connect(config.run_dir().join(SOCKET_NAME))?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    send(&stream, request, netns.map(AsFd::as_fd))?;
    let (response, _) = receive(&stream)?;
    Ok(response)
}
