use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use prost::Message;
use tokio::time::timeout;
use tracing::{info, warn};
use tulle_wire::zds::{
    AddWorkload, DelWorkload, SnapshotSent, Version, WorkloadRequest, WorkloadResponse, ZdsHello,
    workload_request::Payload, workload_response,
};

use super::proxies::{Action, ConnectionId, Proxies};
use super::seqpacket::SeqPacket;

/// A proxy that says nothing for so long after connecting is none.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// A proxy that does not acknowledge for so long is taken for lost; it may connect again.
const ACK_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the proxy closed the connection")]
    Closed,
    #[error("the proxy did not say which version it speaks within {HELLO_LIMIT:?}")]
    NoHello,
    #[error("the proxy speaks version {0}, the agent version 1")]
    Version(i32),
    #[error("the proxy did not acknowledge within {ACK_LIMIT:?}")]
    NoAck,
    #[error("the proxy's message is not understood: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("the proxy answered without an acknowledgement")]
    NotAnAck,
    #[error("the proxy spoke without being asked")]
    Unasked,
}

/// Serves one proxy until it goes away.
pub async fn serve_proxy(socket: SeqPacket, proxies: &Proxies) {
    let pid = socket.peer_pid();
    let hello = match hello(&socket).await {
        Ok(hello) => hello,
        Err(error) => return warn!(err = %error, pid, "a proxy was turned away"),
    };
    let id = proxies.connect(pid, hello.takes_listeners);
    info!(
        proxy = id,
        pid,
        takes_listeners = hello.takes_listeners,
        "proxy connected"
    );
    let error = match converse(&socket, proxies, id).await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    proxies.disconnect(id);
    warn!(proxy = id, pid, err = %error, "proxy gone");
}

async fn hello(socket: &SeqPacket) -> Result<ZdsHello, ConnectionError> {
    let received = timeout(HELLO_LIMIT, socket.receive())
        .await
        .map_err(|_| ConnectionError::NoHello)??;
    let hello = ZdsHello::decode(received.ok_or(ConnectionError::Closed)?.message.as_slice())?;
    if hello.version == Version::V1 as i32 {
        Ok(hello)
    } else {
        Err(ConnectionError::Version(hello.version))
    }
}

async fn converse(
    socket: &SeqPacket,
    proxies: &Proxies,
    id: ConnectionId,
) -> Result<std::convert::Infallible, ConnectionError> {
    let mut changed = proxies.watch();
    let mut snapshot_sent = false;
    loop {
        changed.mark_unchanged();
        match proxies.next(id) {
            Some(action) => perform(socket, proxies, id, action).await?,
            None if !snapshot_sent => {
                snapshot_sent = true;
                match ask(socket, Payload::SnapshotSent(SnapshotSent {}), &[]).await? {
                    Ok(()) => info!(proxy = id, "proxy has every pod of the node"),
                    Err(message) => warn!(
                        proxy = id,
                        message, "the proxy did not take the end of the snapshot"
                    ),
                }
            }
            None => tokio::select! {
                _ = changed.changed() => {}
                received = socket.receive() => return Err(match received? {
                    None => ConnectionError::Closed,
                    Some(_) => ConnectionError::Unasked,
                }),
            },
        }
    }
}

async fn perform(
    socket: &SeqPacket,
    proxies: &Proxies,
    id: ConnectionId,
    action: Action,
) -> Result<(), ConnectionError> {
    match action {
        Action::Add {
            uid,
            handover,
            attempt,
        } => {
            let add = AddWorkload {
                uid: uid.clone(),
                workload_info: Some(handover.info),
            };
            let mut descriptors = vec![handover.namespace.as_fd()];
            if let Some(listeners) = &handover.listeners {
                descriptors.extend(listeners.descriptors());
            }
            let outcome = ask(socket, Payload::Add(add), &descriptors).await?;
            proxies.added(id, &uid, attempt, outcome);
        }
        Action::Del { uid } => {
            if let Err(message) =
                ask(socket, Payload::Del(DelWorkload { uid: uid.clone() }), &[]).await?
            {
                // There is nothing to do again: what the proxy does not know it does not hold.
                warn!(
                    proxy = id,
                    uid, message, "the proxy did not let go of a pod as asked"
                );
            }
            proxies.deleted(id, &uid);
        }
    }
    Ok(())
}

/// Sends one request and waits for its acknowledgement; the inner error is the proxy's own.
async fn ask(
    socket: &SeqPacket,
    payload: Payload,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Result<(), String>, ConnectionError> {
    let request = WorkloadRequest {
        payload: Some(payload),
    };
    socket.send(&request.encode_to_vec(), descriptors).await?;
    let received = timeout(ACK_LIMIT, socket.receive())
        .await
        .map_err(|_| ConnectionError::NoAck)??;
    let response =
        WorkloadResponse::decode(received.ok_or(ConnectionError::Closed)?.message.as_slice())?;
    let Some(workload_response::Payload::Ack(ack)) = response.payload else {
        return Err(ConnectionError::NotAnAck);
    };
    Ok(if ack.error.is_empty() {
        Ok(())
    } else {
        Err(ack.error)
    })
}
