//! Both directions of a connection, and how each of its sides hears of the end.
//!
//! ```text
//!            a direction ends, which is passed on
//!  open ─────────────────────────────────────────▶ half open ── so does the other ──▶ closed
//!   │                                                  │
//!   ├─ a side takes no more ─▶ what it has sent before ┼─▶ the other side is reset once it has
//!   ├─ a side breaks off ──────────────────────────────┘   what was read for it
//!   ├─ ended in a quiet moment ─▶ both sides hear of an end
//!   └─ denied, or ended by force ─▶ both sides are reset at once
//! ```
use std::future::Future;
use std::io;
use std::pin::pin;

use futures::future::{Either, select};
use tokio::time::timeout;

use super::pump::{DELIVERY, Failure, Traffic, pump};
use super::side::Side;

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the client's side: {0}")]
    Client(io::Error),
    #[error("the server's side: {0}")]
    Server(io::Error),
    #[error("both ends are in the mesh by now; ended in a quiet moment")]
    Ended,
    #[error("both ends are in the mesh by now; ended by force")]
    Forced,
    #[error("a policy that came later denies it")]
    Denied,
}

/// Carries a connection until both directions have ended, a side has failed, or `ended` says why it
/// is to end.
///
/// # Errors
/// Why it broke off. Both sides have been told.
pub async fn relay(
    client: &mut impl Side,
    server: &mut impl Side,
    traffic: &Traffic,
    ended: impl Future<Output = Broken>,
) -> Result<(), Broken> {
    let carried = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let request = pump(&mut from_client, &mut to_server, &traffic.request);
        let response = pump(&mut from_server, &mut to_client, &traffic.response);
        tokio::select! {
            biased;
            reason = ended => Err(reason),
            carried = both(request, response) => carried,
        }
    };
    match &carried {
        Ok(()) => {}
        Err(Broken::Client(_)) => {
            client.abort();
            server.reset().await;
        }
        Err(Broken::Server(_)) => {
            server.abort();
            client.reset().await;
        }
        Err(Broken::Ended) => drop(tokio::join!(client.end(), server.end())),
        Err(Broken::Forced | Broken::Denied) => {
            client.abort();
            server.abort();
        }
    }
    carried
}

/// Runs both directions until neither can go on.
async fn both(
    request: impl Future<Output = Result<(), Failure>>,
    response: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Broken> {
    let request = async {
        request.await.map_err(|failure| match failure {
            Failure::Source(err) => (Broken::Client(err), Left::Nothing),
            Failure::Sink(err) => (Broken::Server(err), Left::OtherDirection),
        })
    };
    let response = async {
        response.await.map_err(|failure| match failure {
            Failure::Source(err) => (Broken::Server(err), Left::Nothing),
            Failure::Sink(err) => (Broken::Client(err), Left::OtherDirection),
        })
    };
    match select(pin!(request), pin!(response)).await {
        Either::Left((first, other)) => after(first, other).await,
        Either::Right((first, other)) => after(first, other).await,
    }
}

/// What there is left to carry after a failure.
enum Left {
    /// Of a side that breaks off nothing more comes, and it takes nothing either.
    Nothing,
    /// A side that takes no more may have sent before.
    OtherDirection,
}

async fn after(
    first: Result<(), (Broken, Left)>,
    other: impl Future<Output = Result<(), (Broken, Left)>>,
) -> Result<(), Broken> {
    match first {
        Ok(()) => other.await.map_err(|(broken, _)| broken),
        Err((broken, Left::Nothing)) => Err(broken),
        Err((broken, Left::OtherDirection)) => {
            // However it ends: why the connection did is known.
            let _delivered = timeout(DELIVERY, other).await;
            Err(broken)
        }
    }
}

#[cfg(test)]
#[path = "relay_test.rs"]
mod tests;
