//! The proxy's standard output, a pipe.
use std::io::{PipeReader, Read};
use std::sync::mpsc;

use tokio::sync::oneshot;

/// Read all the time, but while it is left alone. Ends with the proxy.
pub struct Log(mpsc::Sender<oneshot::Receiver<()>>);

impl Log {
    pub fn read(mut pipe: PipeReader) -> Self {
        let (leave, left) = mpsc::channel::<oneshot::Receiver<()>>();
        std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while pipe.read(&mut buffer).is_ok_and(|count| count > 0) {
                if let Ok(until) = left.try_recv() {
                    let _dropped = until.blocking_recv();
                }
            }
        });
        Self(leave)
    }

    /// Nobody reads it from the next line on, until what this returns is dropped.
    pub fn leave(&self) -> oneshot::Sender<()> {
        let (end, ended) = oneshot::channel();
        self.0.send(ended).unwrap();
        end
    }
}
