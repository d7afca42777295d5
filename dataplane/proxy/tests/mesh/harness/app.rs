//! Applications: what they are sent comes back, and who sent it is noted.
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::eventually;
use super::pod::Pod;

pub struct Echo {
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    serving: JoinHandle<()>,
}

impl Echo {
    /// Listens in the pod, and answers each connection with the pod's name and then what comes.
    pub fn start(pod: &Pod, port: u16) -> Self {
        let listener = listen(pod, port);
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

/// Sends without end and reads nothing.
pub struct Flood {
    full: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Flood {
    /// Listens in the pod.
    pub fn start(pod: &Pod, port: u16) -> Self {
        let listener = listen(pod, port);
        let full = Arc::new(AtomicUsize::new(0));
        let count = full.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    fill(&mut stream).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    // Open until the other side ends.
                    let _ended = stream.read_u8().await;
                });
            }
        });
        Self { full, serving }
    }

    /// Waits until so many clients take no more.
    pub async fn stalled(&self, count: usize) {
        eventually("clients that take no more", || {
            (self.full.load(Ordering::SeqCst) >= count).then_some(())
        })
        .await;
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts, reads nothing and says nothing.
pub struct Mute(JoinHandle<()>);

impl Mute {
    /// Listens in the pod.
    pub fn start(pod: &Pod, port: u16) -> Self {
        let listener = listen(pod, port);
        Self(tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                open.push(accepted);
            }
        }))
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens in the pod.
pub fn listen(pod: &Pod, port: u16) -> TcpListener {
    let listener = pod
        .ns
        .run(|| std::net::TcpListener::bind(("::", port)))
        .unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// Writes until the other side has taken nothing for a while.
pub async fn fill(stream: &mut TcpStream) {
    let piece = vec![1; 64 * 1024];
    let quiet = Duration::from_secs(1);
    while let Ok(written) = tokio::time::timeout(quiet, stream.write(&piece)).await {
        written.unwrap();
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
