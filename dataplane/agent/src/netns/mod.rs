//! A pod's network namespace: held open by a descriptor, entered by a thread of its own.
mod cgroup;
mod find;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use tokio::sync::oneshot;

pub use find::{FindError, Finder};

/// A network namespace. Clones share one descriptor; the namespace lives as long as it.
#[derive(Clone)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    id: NetnsId,
}

/// What tells namespaces apart: device and inode of the nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl Netns {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_fd(File::open(path)?.into())
    }

    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(Self {
            fd: Arc::new(fd),
            id: NetnsId {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
        })
    }

    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Whether it is owned by this process's user namespace (ioctl_nsfs(2)). Rules in a namespace
    /// that a pod's own user namespace owns see users and groups of this process as nobody.
    pub fn is_of_own_users(&self) -> io::Result<bool> {
        const NS_GET_USERNS: libc::c_ulong = 0xb701;
        // SAFETY: the descriptor is open for the call, which takes no argument and returns a new one.
        let raw = unsafe { libc::ioctl(self.fd.as_raw_fd(), NS_GET_USERNS) };
        if raw < 0 {
            return match io::Error::last_os_error() {
                // The owner is above this process's own: certainly another.
                refused if refused.raw_os_error() == Some(libc::EPERM) => Ok(false),
                failed => Err(failed),
            };
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        let owner = unsafe { OwnedFd::from_raw_fd(raw) };
        let (owner, own) = (fstat(&owner)?, fstat(File::open("/proc/self/ns/user")?)?);
        Ok((owner.st_dev, owner.st_ino) == (own.st_dev, own.st_ino))
    }

    /// Runs `work` inside the namespace, on a thread that ends with it: no
    /// pooled thread ever changes its namespace. Processes `work` spawns start inside too.
    pub async fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let namespace = self.clone();
        let (done, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let outcome = setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| work());
                // The caller may have given up waiting; its work is then done for nobody.
                drop(done.send(outcome));
            })?;
        result
            .await
            .map_err(|_| io::Error::other("the thread inside the network namespace ended early"))?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.id.inode)
    }
}
