//! Handing a listening port over to another process without losing a connection.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends every new connection of a listener's SO_REUSEPORT group to the group's `index`-th
/// socket, in the order they joined. An index nobody has leaves the kernel's own choice (socket(7),
/// SO_ATTACH_REUSEPORT_CBPF), so that a listener alone in its group keeps working.
///
/// A listener that is closed resets the connections still in its queue; closing it after its
/// group has been steered away and its queue emptied resets none.
///
/// # Errors
/// When the socket is not of a group.
pub fn steer(listener: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let answer = u16::try_from(libc::BPF_RET | libc::BPF_K).map_err(io::Error::other)?;
    let mut program = [libc::sock_filter {
        code: answer,
        jt: 0,
        jf: 0,
        k: index,
    }];
    let filter = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the call; `filter` and the one instruction it points to
    // outlive it, and `len` and `length` are their true sizes. The kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
