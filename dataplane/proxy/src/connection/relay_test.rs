use std::future::pending;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::connection::{Sink, Source};
use crate::lock::lock;

/// A side that does as it is told, and notes what is done with it.
#[derive(Default)]
struct Scripted {
    sends: Sends,
    takes: Takes,
    noted: Arc<Mutex<Noted>>,
}

/// What comes from a side after its words.
#[derive(Clone, Copy, Default, PartialEq)]
enum Sends {
    #[default]
    Nothing,
    WordsAndEnd,
    WordsAndFailure,
}

/// What a side does with what it is sent.
#[derive(Clone, Copy, Default, PartialEq)]
enum Takes {
    #[default]
    All,
    Nothing,
    /// It is sent something, and never takes it.
    Never,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Noted {
    received: Vec<Bytes>,
    finished: bool,
    told: Vec<&'static str>,
}

struct Words<'a>(&'a mut Scripted, usize);
struct Ears(Takes, Arc<Mutex<Noted>>);

const WORDS: [&[u8]; 3] = [b"one", b"two", b"three"];

fn failure() -> io::Error {
    ErrorKind::ConnectionReset.into()
}

impl Source for Words<'_> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        tokio::task::yield_now().await;
        let word = WORDS.get(self.1).copied().map(Bytes::from_static);
        self.1 += 1;
        match (self.0.sends, word) {
            (Sends::Nothing, _) => pending().await,
            (_, Some(word)) => Ok(Some(word)),
            (Sends::WordsAndEnd, None) => Ok(None),
            (Sends::WordsAndFailure, None) => Err(failure()),
        }
    }

    async fn meanwhile(&mut self) -> io::Error {
        match self.0.sends {
            Sends::WordsAndFailure => failure(),
            _ => pending().await,
        }
    }
}

impl Sink for Ears {
    async fn send(&mut self, piece: Bytes) -> io::Result<()> {
        match self.0 {
            Takes::All => {}
            Takes::Nothing => return Err(ErrorKind::BrokenPipe.into()),
            Takes::Never => pending().await,
        }
        // Later than the other direction's failure.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        lock(&self.1).received.push(piece);
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        lock(&self.1).finished = true;
        Ok(())
    }
}

impl Scripted {
    fn new(sends: Sends, takes: Takes) -> (Self, Arc<Mutex<Noted>>) {
        let side = Self {
            sends,
            takes,
            ..Self::default()
        };
        let noted = side.noted.clone();
        (side, noted)
    }

    fn told(&self, what: &'static str) {
        lock(&self.noted).told.push(what);
    }
}

impl Side for Scripted {
    fn split(&mut self) -> (impl Source, impl Sink) {
        let ears = Ears(self.takes, self.noted.clone());
        (Words(self, 0), ears)
    }

    async fn end(&mut self) {
        self.told("end");
    }

    async fn reset(&mut self) {
        self.told("reset");
    }

    fn abort(&mut self) {
        self.told("abort");
    }
}

/// What became of both sides, and of the connection.
async fn carried(
    client: (Sends, Takes),
    server: (Sends, Takes),
    ended: impl Future<Output = Broken>,
) -> (Noted, Noted, Result<(), Broken>) {
    let (mut client, of_client) = Scripted::new(client.0, client.1);
    let (mut server, of_server) = Scripted::new(server.0, server.1);
    let outcome = relay(&mut client, &mut server, &Traffic::default(), ended).await;
    let (client, server) = (lock(&of_client).clone(), lock(&of_server).clone());
    (client, server, outcome)
}

fn words() -> Vec<Bytes> {
    WORDS.map(Bytes::from_static).to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_no_more_is_heard_to_the_end_and_then_the_other_is_reset() {
    for sends in [Sends::WordsAndEnd, Sends::WordsAndFailure] {
        let (client, server, outcome) = carried(
            (Sends::WordsAndEnd, Takes::All),
            (sends, Takes::Nothing),
            pending(),
        )
        .await;
        assert!(matches!(outcome, Err(Broken::Server(err)) if err.kind() == ErrorKind::BrokenPipe));
        assert_eq!(client.received, words(), "the server's answer");
        assert_eq!(client.finished, sends == Sends::WordsAndEnd);
        assert_eq!((client.told, server.told), (vec!["reset"], vec!["abort"]));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sent_before_it_took_no_more_reaches_the_server() {
    let (client, server, outcome) = carried(
        (Sends::WordsAndFailure, Takes::Nothing),
        (Sends::WordsAndEnd, Takes::All),
        pending(),
    )
    .await;
    assert!(matches!(outcome, Err(Broken::Client(_))));
    assert_eq!(server.received, words());
    assert_eq!((client.told, server.told), (vec!["abort"], vec!["reset"]));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_side_before_it_broke_off_is_passed_on() {
    let (client, server, outcome) = carried(
        (Sends::WordsAndFailure, Takes::All),
        (Sends::Nothing, Takes::All),
        pending(),
    )
    .await;
    assert!(matches!(outcome, Err(Broken::Client(_))));
    assert_eq!(server.received, words());
    assert!(!server.finished, "a failure is no end");
    assert_eq!((client.told, server.told), (vec!["abort"], vec!["reset"]));
}

#[tokio::test(start_paused = true)]
async fn who_never_takes_what_a_failed_side_has_sent_is_not_waited_for_without_end() {
    let began = Instant::now();
    let (client, _, outcome) = carried(
        (Sends::Nothing, Takes::Never),
        (Sends::WordsAndFailure, Takes::All),
        pending(),
    )
    .await;
    assert!(matches!(outcome, Err(Broken::Server(_))));
    assert_eq!(began.elapsed(), DELIVERY);
    assert_eq!(client.told, vec!["reset"]);
}

#[tokio::test(start_paused = true)]
async fn what_policy_denies_ends_at_once_on_both_sides() {
    for (reason, told) in [
        (Broken::Denied, "abort"),
        (Broken::Forced, "abort"),
        (Broken::Ended, "end"),
    ] {
        let began = Instant::now();
        let (client, server, outcome) = carried(
            (Sends::WordsAndEnd, Takes::Never),
            (Sends::WordsAndEnd, Takes::Never),
            async { reason },
        )
        .await;
        assert!(outcome.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!((client.told, server.told), (vec![told], vec![told]));
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn an_end_in_one_direction_leaves_the_other_open() {
    let (mut client, mut near) = pair().await;
    let (mut far, mut server) = pair().await;
    let traffic = Traffic::default();
    let counted = traffic.clone();
    let relaying =
        tokio::spawn(async move { relay(&mut near, &mut far, &traffic, pending()).await });
    let question = vec![7u8; 768 * 1024];
    let ask = question.clone();
    let asking = tokio::spawn(async move {
        client.write_all(&ask).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    });
    let mut heard = Vec::new();
    let hearing = server.read_to_end(&mut heard);
    // An end that is not passed on would be waited for without end.
    timeout(Duration::from_secs(10), hearing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard, question);
    // The client has ended; the server has not.
    server.write_all(b"late answer").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(asking.await.unwrap(), b"late answer");
    relaying.await.unwrap().unwrap();
    assert_eq!(
        counted.request.connection.get(),
        u64::try_from(question.len()).unwrap()
    );
    assert_eq!(counted.response.total.get(), 11);
}

/// A server that refuses an upload: it answers, and closes with the rest of the request unread.
#[tokio::test]
async fn the_answer_of_a_server_that_closes_with_the_question_unread_arrives_whole() {
    let (mut client, mut near) = pair().await;
    let (mut far, mut server) = pair().await;
    tokio::spawn(async move { relay(&mut near, &mut far, &Traffic::default(), pending()).await });
    client.write_all(&[7; 4096]).await.unwrap();
    server.readable().await.unwrap();
    // What its kernel has not sent yet when it closes is lost: this much is sent at once.
    let answer = vec![1; 16_000];
    server.write_all(&answer).await.unwrap();
    drop(server);
    let (mut read, mut write) = client.split();
    let uploading = async { while write.write_all(&[7; 4096]).await.is_ok() {} };
    let hearing = async {
        let mut heard = Vec::new();
        let ended = read.read_to_end(&mut heard).await;
        (heard, ended)
    };
    let ((), (heard, _reset)) = tokio::join!(uploading, hearing);
    assert!(heard == answer, "{} bytes", heard.len());
}
