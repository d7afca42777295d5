use std::convert::Infallible;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Answer;

/// Until a request's headers have come.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// Of a request's headers, bytes: a token of a service account is 1 to 8 kB.
const MAX_HEADERS: usize = 16 * 1024;
/// Of a request's body, bytes.
const MAX_BODY: usize = 4096;
/// For a whole connection: TLS where there is any, its one request and the answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(20);

/// Answers the one request of a connection.
pub async fn serve_connection<A, F>(stream: impl AsyncRead + AsyncWrite + Unpin, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await.into_response()) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whether the client stayed to the end is its own affair.
    let _ended = connection.await;
}

/// A request's body.
///
/// # Errors
/// With what to answer where it is too long, or does not come.
pub async fn body(request: Request<Incoming>) -> Result<Bytes, Answer> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(err) => Err(Answer::text(StatusCode::BAD_REQUEST, format!("{err}\n"))),
    }
}

/// Serves a connection in a task of its own, which has its `place` until it ends.
pub(crate) fn spawn(
    place: impl Send + 'static,
    connection: impl Future<Output = ()> + Send + 'static,
) {
    tokio::spawn(async move {
        let _place = place;
        let _in_time = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
    });
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    /// What comes back to a client that says this and then nothing more.
    async fn answered(said: &[u8]) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let echo = async |request: Request<Incoming>| match body(request).await {
            Ok(body) => Answer::text(StatusCode::OK, String::from_utf8_lossy(&body)),
            Err(answer) => answer,
        };
        let asking = async {
            client.write_all(said).await.unwrap();
            read(&mut client).await
        };
        let ((), answer) = tokio::join!(serve_connection(server, echo), asking);
        answer
    }

    async fn read(client: &mut DuplexStream) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn post(length: usize) -> Vec<u8> {
        let mut request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        request.extend(std::iter::repeat_n('x', length));
        request.into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_finish_its_request_is_closed() {
        let began = Instant::now();
        answered(b"GET / HTTP/1.1\r\n").await;
        assert_eq!(began.elapsed(), HEADER_LIMIT);
    }

    #[tokio::test]
    async fn a_connection_has_one_request() {
        let twice = [post(3), post(3)].concat();
        let answer = answered(&twice).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
        assert!(answer.ends_with("\r\n\r\nxxx"), "{answer}");
    }

    #[tokio::test]
    async fn bodies_and_headers_have_a_longest() {
        assert!(answered(&post(MAX_BODY)).await.contains("200 OK"));
        assert!(answered(&post(MAX_BODY + 1)).await.contains("400 Bad"));
        let header = "x".repeat(MAX_HEADERS);
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\ntoken: {header}\r\n\r\n");
        assert!(answered(long.as_bytes()).await.contains("431 "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_too_long_gives_its_place_back() {
        let (place, mut given_back) = tokio::sync::mpsc::channel::<()>(1);
        let began = Instant::now();
        spawn(place, std::future::pending());
        assert_eq!(given_back.recv().await, None);
        assert_eq!(began.elapsed(), CONNECTION_LIMIT);
    }
}
