use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn r34_a_connection_that_is_ended_ends_cleanly_with_bytes_unread() {
    let (mut client, mut near) = pair().await;
    client
        .write_all(b"a question that nobody reads")
        .await
        .unwrap();
    near.readable().await.unwrap();
    let ending = tokio::spawn(async move { near.end().await });
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    client.write_all(b"and another").await.unwrap();
    client.shutdown().await.unwrap();
    ending.await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "no reset");
}

/// What waits in the kernel for a slow reader would be thrown away by a reset at once.
#[tokio::test]
async fn a_connection_is_reset_after_what_it_was_sent_has_arrived() {
    let (mut client, mut near) = pair().await;
    let piece = [7; 64 * 1024];
    let mut sent = 0;
    while let Ok(count) = near.try_write(&piece) {
        sent += count;
    }
    assert!(
        unacknowledged(&near).unwrap() > 0,
        "the client takes no more"
    );
    let resetting = tokio::spawn(async move { near.reset().await });
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    let end = loop {
        match client.read(&mut buffer).await {
            Ok(count) if count > 0 => received += count,
            end => break end,
        }
    };
    resetting.await.unwrap();
    assert_eq!(received, sent);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
