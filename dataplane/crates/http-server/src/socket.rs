use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::Answer;
use crate::connection::{serve_connection, spawn};
use crate::port::ACCEPT_PAUSE;

/// Connections at once; more wait. Only root of the node can open the socket.
const MAX_CONNECTIONS: usize = 64;

/// Listens on a socket of the owner's only, in place of a dead one of the same name.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests, for ever.
pub async fn serve_unix<A, F>(listener: UnixListener, answer: A) -> Infallible
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let answer = Arc::new(answer);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // An error would mean that the semaphore is closed, which nobody does.
        let Ok(place) = places.clone().acquire_owned().await else {
            continue;
        };
        let answer = answer.clone();
        spawn(place, async move {
            serve_connection(stream, |request| answer(request)).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_dead_one_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxies/one.sock");
        drop(listen_unix(&path).unwrap());
        assert!(path.exists(), "dead");
        let _listener = listen_unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }
}
