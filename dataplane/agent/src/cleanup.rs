//! The last files of ours on a node, removed by an agent that has released it and is told to stop.
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use tulle_cni_protocol::{ENROLLED_FILE, SOCKET_NAME};
use tulle_socket_owner::OWNER_FILE;

/// The agent's own.
const SOCKETS: [&str; 3] = [
    tulle_zds::SOCKET_NAME,
    SOCKET_NAME,
    tulle_metrics_server::SOCKET_NAME,
];

/// Between two looks for proxies that still run.
const LOOK: Duration = Duration::from_millis(100);

/// The run directory, as the agent and as the node itself see it.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    pub path: PathBuf,
    /// By the node's own mounts: for the agent the directory is a mount point, which cannot be removed.
    pub on_host: PathBuf,
}

impl RunDirectory {
    /// Removes what is ours and then the directory, when it is empty. Proxies are stopped at the
    /// same time as the agent; they are waited for as long as `limit`. What cannot be removed is
    /// told and stays.
    pub async fn remove(&self, limit: Duration) {
        let proxies = self.path.join(tulle_proxy_status::DIRECTORY);
        if !are_proxies_gone(&proxies, limit).await {
            warn!("proxies are still running; their directory stays");
        }
        for name in SOCKETS.into_iter().chain([ENROLLED_FILE, OWNER_FILE]) {
            let path = self.path.join(name);
            tell(&path, std::fs::remove_file(&path));
        }
        tell(&proxies, std::fs::remove_dir(&proxies));
        tell(&self.on_host, self.remove_on_host());
    }

    fn remove_on_host(&self) -> io::Result<()> {
        if identity(&self.path)? != identity(&self.on_host)? {
            return Err(io::Error::other("it is not the agent's run directory"));
        }
        std::fs::remove_dir(&self.on_host)
    }
}

/// Waits until no proxy serves in `directory`, and removes sockets that are left over.
async fn are_proxies_gone(directory: &Path, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match serving(directory) {
            0 => return true,
            _ if Instant::now() >= deadline => return false,
            count => debug!(count, "waiting for proxies to end"),
        }
        sleep(LOOK).await;
    }
}

/// How many sockets somebody listens on; the others are removed.
fn serving(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tell(path, std::fs::remove_file(path));
                false
            }
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => true,
        })
        .count()
}

/// Which directory it is, by whatever path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn tell(path: &Path, removed: io::Result<()>) {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), err = %error, "cannot remove what is left on the node");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A run directory with all that is ever in it, and its parent.
    fn furnished() -> (tempfile::TempDir, RunDirectory) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("tulle");
        std::fs::create_dir_all(path.join(tulle_proxy_status::DIRECTORY)).unwrap();
        for name in SOCKETS {
            drop(UnixListener::bind(path.join(name)).unwrap());
        }
        std::fs::write(path.join(ENROLLED_FILE), "{}").unwrap();
        std::fs::write(path.join(OWNER_FILE), "{}").unwrap();
        let directory = RunDirectory {
            on_host: path.clone(),
            path,
        };
        (parent, directory)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_not_even_a_dead_proxys_socket() {
        let (_parent, directory) = furnished();
        drop(
            UnixListener::bind(
                directory
                    .path
                    .join(tulle_proxy_status::DIRECTORY)
                    .join("dead.sock"),
            )
            .unwrap(),
        );
        directory.remove(Duration::ZERO).await;
        assert!(!directory.path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn proxies_that_end_are_waited_for() {
        let (_parent, directory) = furnished();
        let socket = directory
            .path
            .join(tulle_proxy_status::DIRECTORY)
            .join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let leaving = tokio::spawn({
            let directory = directory.clone();
            async move { directory.remove(Duration::from_secs(10)).await }
        });
        sleep(Duration::from_secs(9)).await;
        assert!(!leaving.is_finished() && socket.exists());
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        leaving.await.unwrap();
        assert!(!directory.path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_does_not_end_keeps_its_socket() {
        let (_parent, directory) = furnished();
        let socket = directory
            .path
            .join(tulle_proxy_status::DIRECTORY)
            .join("proxy.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        directory.remove(Duration::from_secs(10)).await;
        assert!(socket.exists());
        assert!(!directory.path.join(tulle_zds::SOCKET_NAME).exists());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ours_stays() {
        let (_parent, directory) = furnished();
        std::fs::write(directory.path.join("foreign"), "").unwrap();
        directory.remove(Duration::ZERO).await;
        assert!(directory.path.join("foreign").exists());

        let (_parent, mut directory) = furnished();
        let another = tempfile::tempdir().unwrap();
        directory.on_host = another.path().to_owned();
        directory.remove(Duration::ZERO).await;
        assert!(another.path().exists(), "another directory");
    }
}
