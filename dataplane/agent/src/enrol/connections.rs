//! Looking at a pod's sockets, in its namespace.
use std::io;
use std::time::Duration;

use crate::netns::Netns;
use crate::sockets::{self, ConnectionTracker, Conntrack, Findings, Policy};

/// One look: takes the dump into `tracker` and ends what is due.
pub async fn look(
    namespace: &Netns,
    mut tracker: ConnectionTracker,
    since_capture: Duration,
    policy: Policy,
    proxys_mark: u32,
) -> std::io::Result<(ConnectionTracker, Findings)> {
    namespace
        .run(move || {
            let dump = sockets::dump()?;
            // Without it the addresses decide alone.
            let mut conntrack = Conntrack::open().ok();
            let seen = sockets::connections(&dump, proxys_mark)
                .settled(|socket| conntrack.as_mut()?.is_redirected(socket));
            let findings = tracker.look(&seen, since_capture, policy);
            if !findings.end.is_empty() {
                sockets::destroy(&findings.end).map_err(|cause| {
                    io::Error::new(cause.kind(), format!("ending a connection: {cause}"))
                })?;
            }
            Ok((tracker, findings))
        })
        .await
}

/// How many sockets the proxy still has in the pod.
pub async fn proxy_sockets(namespace: &Netns, proxys_mark: u32) -> std::io::Result<usize> {
    namespace
        .run(move || Ok(sockets::proxy_sockets(&sockets::dump()?, proxys_mark)))
        .await
}
