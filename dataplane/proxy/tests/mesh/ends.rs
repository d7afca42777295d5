//! How the end of a connection, and its failure, reach the other side, whichever way it goes.
use std::io::ErrorKind;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Mesh;
use crate::harness::app::{limited, listen};
use crate::harness::pod::Pod;

/// Both ends of a connection, as applications have them.
struct Carried {
    way: &'static str,
    client: TcpStream,
    server: TcpStream,
}

/// Pods of a mesh, and one outside it.
struct Pods {
    a: Pod,
    b: Pod,
    outsider: Pod,
    _mesh: Mesh,
}

impl Pods {
    async fn start() -> Self {
        let mut mesh = Mesh::start().await;
        Self {
            a: mesh.pod("a").await,
            b: mesh.pod("b").await,
            outsider: mesh.outsider("outsider"),
            _mesh: mesh,
        }
    }

    /// One connection for each way that the proxy carries them.
    async fn connections(&self) -> Vec<Carried> {
        let mut all = Vec::new();
        for (way, from, to) in [
            ("through a tunnel", &self.a, &self.b),
            ("in plaintext from outside", &self.outsider, &self.b),
            ("in plaintext to the outside", &self.a, &self.outsider),
        ] {
            let listener = listen(to, 8080);
            let client = from.connect(to.ip, 8080).await.unwrap();
            let (server, _) = limited(listener.accept()).await.unwrap().unwrap();
            all.push(Carried {
                way,
                client,
                server,
            });
        }
        all
    }
}

/// Ends what `first` sends, and then what `second` does.
async fn end_in_turn(way: &str, mut first: TcpStream, mut second: TcpStream) {
    first.write_all(b"a question").await.unwrap();
    first.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let hearing = limited(second.read_to_end(&mut heard)).await;
    hearing.unwrap().unwrap();
    assert_eq!(heard, b"a question", "{way}");
    second.write_all(b"a late answer").await.unwrap();
    second.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let answering = limited(first.read_to_end(&mut answer)).await;
    answering.unwrap().unwrap();
    assert_eq!(answer, b"a late answer", "{way}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let pods = Pods::start().await;
    for one in pods.connections().await {
        end_in_turn(one.way, one.client, one.server).await;
    }
    for one in pods.connections().await {
        end_in_turn(one.way, one.server, one.client).await;
    }
}

/// Whether the other side hears of a reset as a reset, after what was sent before it.
async fn reset_reaches(way: &str, mut from: TcpStream, mut to: TcpStream) {
    from.write_all(b"the last words").await.unwrap();
    let mut heard = [0; 14];
    limited(to.read_exact(&mut heard)).await.unwrap().unwrap();
    SockRef::from(&from)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(from);
    let end = limited(to.read(&mut [0])).await.unwrap();
    assert!(
        end.as_ref()
            .is_err_and(|err| err.kind() == ErrorKind::ConnectionReset),
        "{way}: {end:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_one_side_reaches_the_other_as_a_reset() {
    let pods = Pods::start().await;
    for one in pods.connections().await {
        reset_reaches(one.way, one.client, one.server).await;
    }
    for one in pods.connections().await {
        reset_reaches(one.way, one.server, one.client).await;
    }
}

/// A server that refuses an upload: it answers, and closes with the rest of the request unread.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_server_that_closes_with_the_question_unread_arrives_whole() {
    let pods = Pods::start().await;
    // What its kernel has not sent yet when it closes is lost: this much is sent at once.
    let answer = vec![1; 16_000];
    for Carried {
        way,
        mut client,
        mut server,
    } in pods.connections().await
    {
        client.write_all(&[7; 4096]).await.unwrap();
        limited(server.readable()).await.unwrap().unwrap();
        limited(server.write_all(&answer)).await.unwrap().unwrap();
        drop(server);
        let (mut read, mut write) = client.split();
        let uploading = async { while write.write_all(&[7; 4096]).await.is_ok() {} };
        let mut heard = Vec::new();
        let hearing = read.read_to_end(&mut heard);
        let (_, end) = limited(async { tokio::join!(uploading, hearing) })
            .await
            .unwrap();
        assert!(heard == answer, "{way}: {} bytes, {end:?}", heard.len());
    }
}
