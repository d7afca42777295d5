//! Entering a pod's network namespace.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns};
use tulle_socket_owner::SocketOwner;

/// A network namespace, held open by its descriptor.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
    id: NetNsId,
    owner: Option<SocketOwner>,
}

/// Two descriptors of one namespace have the same id (ioctl_ns(2): device and inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

impl NetNs {
    /// `owner` is what the pod's rules know this proxy's sockets by; without one they go by the mark alone.
    ///
    /// # Errors
    /// When `fd` cannot be looked at, or this process' own namespace cannot be opened for the way back.
    pub fn new(fd: OwnedFd, owner: Option<SocketOwner>) -> io::Result<Self> {
        own()?;
        let metadata = File::from(fd.try_clone()?).metadata()?;
        let id = NetNsId {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        Ok(Self { fd, id, owner })
    }

    pub fn id(&self) -> NetNsId {
        self.id
    }

    pub fn owner(&self) -> Option<SocketOwner> {
        self.owner
    }

    /// Runs `work` with the calling thread in this namespace, and comes back.
    /// `work` must not wait: the thread serves other pods too.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or as `work` says. When the way back
    /// fails the process aborts: its next socket would be in the wrong pod.
    pub fn run<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let own = own()?;
        setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
        let _back = WayBack(own);
        work()
    }
}

/// Returns to the process' namespace, also when the work inside panics.
struct WayBack(&'static OwnedFd);

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(err) = setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET) {
            tracing::error!(%err, "cannot return from a pod's network namespace");
            std::process::abort();
        }
    }
}

/// The process' own namespace, opened once.
fn own() -> io::Result<&'static OwnedFd> {
    static OWN: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = OWN.get() {
        return Ok(fd);
    }
    let fd = File::open("/proc/self/ns/net")?.into();
    Ok(OWN.get_or_init(|| fd))
}
