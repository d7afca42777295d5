//! Clients that connect again and again, several at once, until stopped.
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pod::Pod;

const LIMIT: Duration = Duration::from_secs(10);

pub struct Hammer {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Hammer {
    /// Starts `clients` in the pod; each connects, waits for the greeting, and begins again.
    pub fn start(from: &Pod, to: Ipv4Addr, port: u16, clients: usize) -> Self {
        let (stop, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let clients = (0..clients)
            .map(|_| {
                let (stop, served) = (stop.clone(), served.clone());
                // A thread started inside stays inside.
                from.ns.run(|| {
                    std::thread::spawn(move || {
                        let mut failures = Vec::new();
                        while !stop.load(Ordering::Relaxed) {
                            match visit(SocketAddr::new(to.into(), port)) {
                                Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                                Err(err) => failures.push(err.to_string()),
                            }
                        }
                        failures
                    })
                })
            })
            .collect();
        Self {
            stop,
            served,
            clients,
        }
    }

    /// Visits that went well so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Stops, and tells every failure there was.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    }
}

fn visit(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.read_exact(&mut [0])
}
