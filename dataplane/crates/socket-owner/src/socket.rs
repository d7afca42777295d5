use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::SocketOwner;

impl SocketOwner {
    /// Opens a socket that the rules of pods know as the proxy's: `open` makes it, on this thread.
    ///
    /// # Errors
    /// As `open`; when the thread may not take on the owner (CAP_SETUID, CAP_SETGID), or the
    /// socket's inode cannot be given back to root (CAP_CHOWN). When the thread cannot become
    /// itself again the process aborts: what it opened next would be the proxy's too.
    pub fn open<S: AsFd>(&self, open: impl FnOnce() -> io::Result<S>) -> io::Result<S> {
        let socket = {
            let _own = Taken::on(self)?;
            open()?
        };
        // A socket's inode belongs to whoever opened it, and every process of the pod can read
        // whose it is. The credentials of the file stay what they were.
        // SAFETY: the descriptor is open for the call, which takes numbers only.
        let chowned = unsafe { libc::fchown(socket.as_fd().as_raw_fd(), 0, 0) };
        if chowned != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; `mark` outlives the call and its size is the one given.
        let marked = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MARK,
                std::ptr::from_ref(&self.mark).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        if marked != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// This thread's file system user and group are another's, until dropped (setfsuid(2)).
struct Taken {
    uid: u32,
    gid: u32,
}

impl Taken {
    fn on(owner: &SocketOwner) -> io::Result<Self> {
        let gid = set_fsgid(owner.gid);
        let uid = set_fsuid(owner.uid);
        let taken = Self { uid, gid };
        if current() == (owner.uid, owner.gid) {
            Ok(taken)
        } else {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        set_fsuid(self.uid);
        set_fsgid(self.gid);
        if current() != (self.uid, self.gid) {
            std::process::abort();
        }
    }
}

/// An id nobody has: asking for it changes nothing and tells the current one.
const NO_ID: u32 = u32::MAX;

fn current() -> (u32, u32) {
    (set_fsuid(NO_ID), set_fsgid(NO_ID))
}

/// Sets the id if the thread may, and returns the one before.
fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: changes a number of the calling thread's and nothing in memory.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_thread_is_itself_again_and_the_socket_shows_no_owner() {
        let (before, owner) = (current(), SocketOwner::random().unwrap());
        let mut during = (0, 0);
        let socket = owner
            .open(|| {
                during = current();
                UdpSocket::bind("127.0.0.1:0")
            })
            .unwrap();
        assert_eq!(during, (owner.uid, owner.gid));
        assert_eq!(current(), before);
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = std::fs::metadata(path).unwrap();
        assert_eq!((inode.uid(), inode.gid()), (0, 0));
    }

    #[test]
    fn what_fails_leaves_the_thread_itself() {
        let before = current();
        let owner = SocketOwner::random().unwrap();
        let failed = owner.open(|| Err::<UdpSocket, _>(io::ErrorKind::AddrInUse.into()));
        assert!(failed.is_err());
        assert_eq!(current(), before);
    }
}
