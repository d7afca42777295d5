//! Applications: what they are sent comes back, and who sent it is noted.
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::pod::Pod;

pub struct Echo {
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    serving: JoinHandle<()>,
}

impl Echo {
    /// Listens in the pod, and answers each connection with the pod's name and then what comes.
    pub fn start(pod: &Pod, port: u16) -> Self {
        let listener = pod
            .ns
            .run(|| std::net::TcpListener::bind(("::", port)))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let peers = Arc::new(Mutex::new(Vec::new()));
        let (noted, name) = (peers.clone(), pod.name.clone());
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, from)) = listener.accept().await {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                noted.lock().unwrap().push(from);
                let greeting = format!("{name}\n");
                tokio::spawn(async move {
                    stream.write_all(greeting.as_bytes()).await?;
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await?;
                    write.shutdown().await
                });
            }
        });
        Self { peers, serving }
    }

    /// Everybody who has connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.peers.lock().unwrap().clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads the greeting: the name of who answers.
pub async fn greeting(stream: &mut TcpStream) -> io::Result<String> {
    let mut name = Vec::new();
    loop {
        match limited(stream.read_u8()).await?? {
            b'\n' => return String::from_utf8(name).map_err(io::Error::other),
            byte => name.push(byte),
        }
    }
}

/// Sends `text` and reads as much back.
pub async fn exchange(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut back = vec![0; text.len()];
    limited(stream.read_exact(&mut back)).await??;
    Ok(back)
}

/// Whether the other side has refused or ended the connection with nothing said.
pub async fn refused(stream: io::Result<TcpStream>) -> bool {
    let Ok(mut stream) = stream else { return true };
    let mut byte = [0];
    match limited(stream.read(&mut byte)).await {
        Ok(Ok(0) | Err(_)) => true,
        Ok(Ok(_)) => false,
        Err(_) => panic!("neither refused nor served"),
    }
}

pub async fn limited<T>(work: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(Duration::from_secs(15), work)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing came"))
}
