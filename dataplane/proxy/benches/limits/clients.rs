//! Whose connections a flood is: many at once from one pod, and again when they end.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::harness::pod::Pod;

/// What is done with a connection.
#[derive(Clone)]
pub enum Habit {
    /// Says this and nothing more, until the other side ends it.
    Says(Arc<[u8]>),
    /// Writes pieces of so many bytes as long as they are taken.
    Writes(usize),
    /// Reads the first byte and goes, which leaves no port in TIME_WAIT as there is more; and again.
    Visits,
}

/// Between the end of a connection and the next in its place.
const PAUSE: Duration = Duration::from_millis(100);

/// Works in a pod's namespace, in a thread of its own, until what this returns is dropped.
pub fn inside(pod: &Pod, work: impl Future<Output = ()> + Send + 'static) -> oneshot::Sender<()> {
    let (end, ended) = oneshot::channel();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    // A thread started inside stays inside.
    pod.ns.run(|| {
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _dropped = ended => {}
                    () = work => {}
                }
            });
        });
    });
    end
}

/// So many connections at once, for ever.
pub async fn keep(count: usize, to: SocketAddr, habit: Habit) {
    let each = (0..count).map(|_| keep_one(to, habit.clone()));
    futures::future::join_all(each).await;
}

async fn keep_one(to: SocketAddr, habit: Habit) {
    loop {
        // However it ended: another.
        let _ended = live(to, &habit).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn live(to: SocketAddr, habit: &Habit) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    match habit {
        Habit::Says(text) => {
            stream.write_all(text).await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        }
        Habit::Writes(size) => {
            stream.set_nodelay(true)?;
            let piece = vec![1; *size];
            loop {
                stream.write_all(&piece).await?;
                // Others have their turn, so that pieces are not taken together.
                tokio::task::yield_now().await;
            }
        }
        Habit::Visits => loop {
            stream.read_u8().await?;
            stream = TcpStream::connect(to).await?;
        },
    }
    Ok(())
}
