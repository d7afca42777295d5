use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::stat::fstat;
use tokio::sync::{Mutex, watch};
use tulle_names::SYSTEM_NAMESPACE;

use crate::cluster::View;
use crate::netns::Finder;

/// Where each socket of the mesh's own processes is, by its inode.
type Table = HashMap<u64, Place>;

#[derive(Clone, Copy, Debug)]
struct Place {
    pid: i32,
    fd: RawFd,
}

/// The mesh's own processes on this node, and the sockets they hold.
///
/// What a process calls itself proves nothing, and neither does a mark on its sockets. A process
/// is the mesh's when its cgroup is that of a pod in the mesh's own namespace, where only an
/// administrator can put pods.
pub(super) struct Holders {
    finder: Finder,
    view: watch::Receiver<View>,
    /// The last pass over the processes' descriptors: pods are looked for one after the other.
    last: Mutex<Table>,
}

impl Holders {
    pub fn new(finder: Finder, view: watch::Receiver<View>) -> Self {
        Self {
            finder,
            view,
            last: Mutex::default(),
        }
    }

    /// A duplicate of the socket with this inode; `None` where no process of the mesh holds it.
    pub async fn duplicate(&self, inode: u64) -> io::Result<Option<OwnedFd>> {
        let mut last = self.last.lock().await;
        // What an earlier pass says may be over: it is believed when the duplicate proves it.
        if let Some(place) = last.get(&inode)
            && let Ok(fd) = duplicate(*place, inode)
        {
            return Ok(Some(fd));
        }
        let (finder, view) = (self.finder.clone(), self.view.borrow().clone());
        let pass = tokio::task::spawn_blocking(move || table(&finder, &view));
        *last = pass.await.map_err(io::Error::other)??;
        let Some(place) = last.get(&inode) else {
            return Ok(None);
        };
        match duplicate(*place, inode) {
            Ok(fd) => Ok(Some(fd)),
            // Closed since the pass, or its process has ended.
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::EBADF | libc::ESRCH))
}

fn table(finder: &Finder, view: &View) -> io::Result<Table> {
    let is_of_the_mesh = |uid: &String| {
        let pod = view.pods.get(uid);
        pod.is_some_and(|pod| pod.namespace == SYSTEM_NAMESPACE)
    };
    let processes = finder.processes()?;
    let own = processes
        .iter()
        .filter(|(uid, _)| is_of_the_mesh(uid))
        .flat_map(|(_, pids)| pids);
    let mut table = Table::new();
    for pid in own {
        table.extend(sockets(finder.table(), *pid));
    }
    Ok(table)
}

/// The sockets of a process; none when it has ended meanwhile.
fn sockets(processes: &Path, pid: i32) -> Vec<(u64, Place)> {
    let entries = std::fs::read_dir(processes.join(pid.to_string()).join("fd"));
    let socket = |entry: std::fs::DirEntry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let inode = inode(target.to_str()?)?;
        Some((inode, Place { pid, fd }))
    };
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(socket).collect()
}

/// The inode in what a socket's entry in `/proc/<pid>/fd` links to (proc_pid_fd(5)).
fn inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Duplicates a descriptor of another process (pidfd_getfd(2)), which must be the socket expected.
fn duplicate(place: Place, inode: u64) -> io::Result<OwnedFd> {
    // SAFETY: both calls take numbers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, place.pid, 0) })?;
    let raw = process.as_raw_fd();
    // SAFETY: as above.
    let fd = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw, place.fd, 0) })?;
    if fstat(&fd)?.st_ino == inode {
        Ok(fd)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The descriptor a system call has made, or its error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        Ok(raw) if raw >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sockets_link_names_a_socket() {
        assert_eq!(inode("socket:[4711]"), Some(4711));
        for other in [
            "pipe:[4711]",
            "/tmp/socket:[4711]",
            "socket:[x]",
            "socket:[4711",
        ] {
            assert_eq!(inode(other), None, "{other}");
        }
    }
}
