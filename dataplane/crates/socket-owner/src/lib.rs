//! How a pod's rules tell the proxy's sockets from the pod's own.
//!
//! A packet mark alone does not tell: since Linux 5.17 CAP_NET_RAW, which container runtimes give
//! by default, is enough to set one. So the rules ask for the credentials of the file a socket was
//! opened as (nftables `meta skuid` and `meta skgid`): a user and a group that the agent draws by
//! lot and keeps until the node starts anew. They are 60 bits that a pod cannot read: /proc/net/tcp
//! shows the owner of the socket's inode, which is root again before the socket is used, and the
//! rules can be read only with CAP_NET_ADMIN in the pod, which could as well remove them.
//!
//! The mark is a secret too, so that the agent can tell sockets apart by socket diagnostics; the
//! rules take it off packets before they can be seen on an interface.
mod file;
mod socket;

use serde::{Deserialize, Serialize};
use tulle_names::{MARK_MASK, PROXY_MARK};

pub use file::{FileError, obtain, read};

/// What marks a socket as the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketOwner {
    /// The packet mark (SO_MARK): the proxy's, and a secret in the bits above.
    pub mark: u32,
    /// File system user and group at the moment the socket was opened.
    pub uid: u32,
    pub gid: u32,
}

/// The owner's file in the run directory that agent and proxies share.
pub const OWNER_FILE: &str = "socket-owner.json";

/// Users and groups below are given to people and pods, and the highest ones mean "nobody" or "no change".
const LOWEST_ID: u32 = 1 << 30;
const HIGHEST_ID: u32 = u32::MAX - 2;

impl SocketOwner {
    /// Draws one by lot.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 12];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        let [mark, uid, gid] = [0, 4, 8].map(|at| {
            bytes[at..at + 4]
                .iter()
                .fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        });
        let id = |number: u32| LOWEST_ID + number % (HIGHEST_ID - LOWEST_ID);
        Ok(Self {
            mark: mark & !MARK_MASK | PROXY_MARK,
            uid: id(uid),
            gid: id(gid),
        })
    }

    /// Whether this can have been drawn: ids that pods may have protect nothing.
    fn is_sound(&self) -> bool {
        let ids = [self.uid, self.gid];
        self.mark & MARK_MASK == PROXY_MARK
            && ids.iter().all(|id| (LOWEST_ID..HIGHEST_ID).contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_sound_and_never_the_same() {
        let (one, other) = (
            SocketOwner::random().unwrap(),
            SocketOwner::random().unwrap(),
        );
        assert!(one.is_sound() && other.is_sound());
        assert_ne!(one, other);
        assert!(!SocketOwner { uid: 0, ..one }.is_sound());
        assert!(!SocketOwner { gid: 65_534, ..one }.is_sound());
        assert!(!SocketOwner { mark: 0x111, ..one }.is_sound());
    }
}
