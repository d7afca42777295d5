use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use prost::Message;
use tokio::time::timeout;
use tracing::{info, warn};
use tulle_wire::zds::{
    AddWorkload, DelWorkload, SnapshotSent, Version, WorkloadRequest, WorkloadResponse, ZdsHello,
    workload_request::Payload, workload_response,
};

use super::handover::{Action, Handover, Manner, Refusal, outcome};
use super::proxies::{ConnectionId, Proxies};
use super::requests::{ACK_LIMIT, Asked, Requests};
use super::seqpacket::{Received, SeqPacket};

/// A proxy that says nothing for so long after connecting is none.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

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
    let manner = match hello(&socket).await {
        Ok(hello) => Manner {
            takes_listeners: hello.takes_listeners,
            answers_in_any_order: hello.answers_in_any_order,
        },
        Err(error) => return warn!(err = %error, pid, "a proxy was turned away"),
    };
    let id = proxies.connect(pid, manner);
    info!(proxy = id, pid, ?manner, "proxy connected");
    let conversation = Conversation {
        socket,
        proxies,
        id,
        requests: Requests::new(manner.answers_in_any_order),
        snapshot_sent: false,
    };
    let error = match conversation.run().await {
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

struct Conversation<'a> {
    socket: SeqPacket,
    proxies: &'a Proxies,
    id: ConnectionId,
    requests: Requests,
    snapshot_sent: bool,
}

/// A request that is to be sent, and what goes with it.
struct Outgoing {
    message: Vec<u8>,
    handover: Option<Handover>,
}

impl Conversation<'_> {
    /// Asks what is to be asked and takes answers as they come: a proxy that is slow to read is
    /// listened to all the same.
    async fn run(mut self) -> Result<Infallible, ConnectionError> {
        let mut changed = self.proxies.watch();
        let mut outgoing = None;
        loop {
            changed.mark_unchanged();
            if outgoing.is_none() && self.requests.has_room() {
                outgoing = self.next();
            }
            tokio::select! {
                sent = send(&self.socket, outgoing.as_ref()), if outgoing.is_some() => {
                    sent?;
                    outgoing = None;
                }
                received = self.socket.receive() => {
                    let received = received?.ok_or(ConnectionError::Closed)?;
                    self.answered(&received)?;
                }
                () = self.requests.overdue() => return Err(ConnectionError::NoAck),
                _ = changed.changed() => {}
            }
        }
    }

    /// The next request: pods first, once all have been named the end of the snapshot.
    fn next(&mut self) -> Option<Outgoing> {
        let (asked, payload, handover) = match self.proxies.next(self.id) {
            Some(Action::Add {
                uid,
                handover,
                attempt,
            }) => {
                let add = AddWorkload {
                    uid: uid.clone(),
                    workload_info: Some(handover.info.clone()),
                };
                let asked = Asked::Add { uid, attempt };
                (asked, Payload::Add(add), Some(handover))
            }
            Some(Action::Del { uid }) => {
                let del = DelWorkload { uid: uid.clone() };
                (Asked::Del { uid }, Payload::Del(del), None)
            }
            None if !self.snapshot_sent => {
                self.snapshot_sent = true;
                let payload = Payload::SnapshotSent(SnapshotSent {});
                (Asked::SnapshotSent, payload, None)
            }
            None => return None,
        };
        let request = WorkloadRequest {
            payload: Some(payload),
            number: self.requests.begin(asked),
        };
        Some(Outgoing {
            message: request.encode_to_vec(),
            handover,
        })
    }

    fn answered(&mut self, received: &Received) -> Result<(), ConnectionError> {
        let response = WorkloadResponse::decode(received.message.as_slice())?;
        let asked = self.requests.answered(response.number);
        let asked = asked.ok_or(ConnectionError::Unasked)?;
        let Some(workload_response::Payload::Ack(ack)) = response.payload else {
            return Err(ConnectionError::NotAnAck);
        };
        self.done(asked, outcome(ack));
        Ok(())
    }

    fn done(&self, asked: Asked, outcome: Result<(), Refusal>) {
        let (proxies, id) = (self.proxies, self.id);
        match (asked, outcome) {
            (Asked::Add { uid, attempt }, outcome) => proxies.added(id, &uid, attempt, outcome),
            (Asked::Del { uid }, outcome) => {
                if let Err(Refusal { message, .. }) = outcome {
                    // There is nothing to do again: what the proxy does not know it does not hold.
                    warn!(
                        proxy = id,
                        uid, message, "the proxy did not let go of a pod as asked"
                    );
                }
                proxies.deleted(id, &uid);
            }
            (Asked::SnapshotSent, Ok(())) => {
                info!(
                    proxy = id,
                    "the proxy has been told of every pod of the node"
                );
            }
            (Asked::SnapshotSent, Err(Refusal { message, .. })) => warn!(
                proxy = id,
                message, "the proxy did not take the end of the snapshot"
            ),
        }
    }
}

async fn send(socket: &SeqPacket, outgoing: Option<&Outgoing>) -> io::Result<()> {
    let Some(Outgoing { message, handover }) = outgoing else {
        return Ok(());
    };
    let mut descriptors = Vec::new();
    if let Some(handover) = handover {
        descriptors.push(handover.namespace.as_fd());
        descriptors.extend(
            handover
                .listeners
                .iter()
                .flat_map(|held| held.descriptors()),
        );
    }
    socket.send(message, &descriptors).await
}
