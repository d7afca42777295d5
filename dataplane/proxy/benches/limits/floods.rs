//! What others do to the proxy without end. Each is bounded in connections.
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::clients::{Habit, inside, keep};
use crate::fixture::{ECHO, Ground};
use crate::harness::authority;
use crate::harness::network::NODE;
use crate::harness::pod::Pod;

/// A flood that is on, until all of this is dropped.
pub type Flood = Vec<oneshot::Sender<()>>;
type Start = fn(&Ground) -> Flood;

/// Those last that take most memory: the allocator keeps some of it when they are over.
pub const FLOODS: [(&str, Start); 9] = [
    ("silent connections to metrics and readiness", |fixture| {
        let stranger = &fixture.strangers[0];
        let silent = |port| inside(stranger, keep(300, (NODE, port).into(), silence()));
        vec![silent(15020), silent(15021)]
    }),
    ("connections that come and go", |fixture| {
        vec![churn(fixture)]
    }),
    ("the same beside a log that nobody reads", |fixture| {
        vec![fixture.log.leave(), churn(fixture)]
    }),
    ("handshakes without a byte, of one address", |fixture| {
        half_open(fixture, &fixture.strangers[..1], &silence())
    }),
    ("handshakes without a byte, of many addresses", |fixture| {
        half_open(fixture, &fixture.strangers, &silence())
    }),
    (
        "handshakes that stop after the hello, of one address",
        |fixture| half_open(fixture, &fixture.strangers[..1], &hello()),
    ),
    (
        "handshakes that stop after the hello, of many addresses",
        |fixture| half_open(fixture, &fixture.strangers, &hello()),
    ),
    ("100 B at a time to a slow application", |fixture| {
        written_to(
            fixture,
            40,
            Habit::Writes(100),
            Some(Duration::from_millis(10)),
        )
    }),
    ("an application that does not read", |fixture| {
        written_to(fixture, 100, Habit::Writes(64 * 1024), None)
    }),
];

/// Of all who do not finish their handshake with a pod.
const HALF_OPEN: usize = 512;
/// Where the application of `b` listens that does not keep up.
const SLOW: u16 = 8081;

fn silence() -> Habit {
    Habit::Says(Arc::new([]))
}

/// Only the first message of a handshake.
fn hello() -> Habit {
    let name = ServerName::IpAddress(NODE.into());
    let mut handshake = ClientConnection::new(authority::client(None), name).unwrap();
    let mut hello = Vec::new();
    handshake.write_tls(&mut hello).unwrap();
    Habit::Says(hello.into())
}

fn half_open(fixture: &Ground, callers: &[Pod], habit: &Habit) -> Flood {
    let each = HALF_OPEN / callers.len();
    let open = |caller| {
        inside(
            caller,
            keep(each, (fixture.b.ip, 15008).into(), habit.clone()),
        )
    };
    callers.iter().map(open).collect()
}

/// Clients of `a` that write to an application of `b`, in the tunnels of honest callers.
fn written_to(fixture: &Ground, clients: usize, habit: Habit, pause: Option<Duration>) -> Flood {
    let to = (fixture.b.ip, SLOW).into();
    vec![
        inside(&fixture.b, application(pause)),
        inside(&fixture.a, keep(clients, to, habit)),
    ]
}

fn churn(fixture: &Ground) -> oneshot::Sender<()> {
    inside(
        &fixture.a,
        keep(8, (fixture.b.ip, ECHO).into(), Habit::Visits),
    )
}

/// Takes 4 KiB of each connection, and again after the pause; without one it takes nothing.
async fn application(pause: Option<Duration>) {
    let listener = TcpListener::bind(("::", SLOW)).await.unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(take(stream, pause));
    }
}

async fn take(mut stream: TcpStream, pause: Option<Duration>) {
    let Some(pause) = pause else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
        tokio::time::sleep(pause).await;
    }
}
