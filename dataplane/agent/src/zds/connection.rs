use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};
use tulle_zds::{Answer, Hello, MessageError, Received, Refusal, SeqPacket};

use super::handover::{Action, Handover};
use super::proxies::{ConnectionId, Proxies};
use super::requests::{ACK_LIMIT, Asked, Requests};

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
    #[error("the proxy did not acknowledge within {ACK_LIMIT:?}")]
    NoAck,
    #[error("the proxy's message is not understood: {0}")]
    Message(#[from] MessageError),
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
    let id = proxies.connect(pid, hello);
    info!(proxy = id, pid, ?hello, "proxy connected");
    let conversation = Conversation {
        socket,
        proxies,
        id,
        requests: Requests::new(hello.answers_in_any_order),
        snapshot_sent: false,
    };
    let error = match conversation.run().await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    proxies.disconnect(id);
    warn!(proxy = id, pid, err = %error, "proxy gone");
}

async fn hello(socket: &SeqPacket) -> Result<Hello, ConnectionError> {
    let received = timeout(HELLO_LIMIT, socket.receive())
        .await
        .map_err(|_| ConnectionError::NoHello)??;
    Ok(Hello::decode(&whole(received)?)?)
}

/// A message that came whole. What a proxy sends beside it is closed.
fn whole(received: Option<Received>) -> Result<Vec<u8>, ConnectionError> {
    let Received { bytes, descriptors } = received.ok_or(ConnectionError::Closed)?;
    descriptors?;
    Ok(bytes)
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
                    let answer = Answer::decode(&whole(received?)?)?;
                    self.answered(answer)?;
                }
                () = self.requests.overdue() => return Err(ConnectionError::NoAck),
                _ = changed.changed() => {}
            }
        }
    }

    /// The next request: pods first, once all have been named the end of the snapshot.
    fn next(&mut self) -> Option<Outgoing> {
        match self.proxies.next(self.id) {
            Some(Action::Add {
                uid,
                handover,
                attempt,
            }) => {
                let number = self.requests.begin(Asked::Add { uid, attempt });
                Some(Outgoing {
                    message: tulle_zds::add(number, &handover.pod),
                    handover: Some(handover),
                })
            }
            Some(Action::Del { uid }) => {
                let number = self.requests.begin(Asked::Del { uid: uid.clone() });
                Some(Outgoing {
                    message: tulle_zds::delete(number, &uid),
                    handover: None,
                })
            }
            None if !self.snapshot_sent => {
                self.snapshot_sent = true;
                let number = self.requests.begin(Asked::SnapshotSent);
                Some(Outgoing {
                    message: tulle_zds::snapshot_sent(number),
                    handover: None,
                })
            }
            None => None,
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), ConnectionError> {
        let asked = self.requests.answered(answer.number);
        self.done(asked.ok_or(ConnectionError::Unasked)?, answer.outcome);
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
