use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use tokio::sync::Mutex;

use super::cgroup::pod_uid;
use super::{Netns, NetnsId};

/// How long a pass over the process table is good for pods it knows.
const REUSE: Duration = Duration::from_secs(2);

/// Finds the network namespaces of running pods by their processes.
#[derive(Clone, Debug)]
pub struct Finder {
    proc: PathBuf,
    host: NetnsId,
    /// The last pass over the process table, shared by pods that are looked for at once.
    last: Arc<Mutex<Option<Pass>>>,
}

/// A pass over the process table, and when it was made.
#[derive(Debug)]
struct Pass {
    at: Instant,
    processes: Arc<Processes>,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("no process of the pod is running on this node")]
    NoProcess,
    #[error("none of the pod's processes is in a network namespace with one of its addresses")]
    NoNamespace,
    #[error("reading the process table: {0}")]
    Io(#[from] io::Error),
}

/// Processes of each pod on the node, by the pod's UID, lowest pid first.
pub type Processes = HashMap<String, BTreeSet<i32>>;

impl Finder {
    /// `proc` is the process table of the node (`/proc` with hostPID); the
    /// caller's own namespace is taken for the host's.
    pub fn new(proc: &Path) -> io::Result<Self> {
        let host = Netns::open(Path::new("/proc/thread-self/ns/net"))?.id();
        Ok(Self {
            proc: proc.to_owned(),
            host,
            last: Arc::default(),
        })
    }

    /// The process table.
    pub fn table(&self) -> &Path {
        &self.proc
    }

    /// One pass over the process table.
    pub fn processes(&self) -> io::Result<Processes> {
        let mut found = Processes::new();
        for entry in std::fs::read_dir(&self.proc)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|text| text.parse::<i32>().ok()) else {
                continue;
            };
            if let Some(uid) = self.pod_of(pid)? {
                found.entry(uid).or_default().insert(pid);
            }
        }
        Ok(found)
    }

    /// The namespaces of `pids` that can be the pod's: those with one of its addresses, because a
    /// container may have made namespaces of its own inside; while it has none, all but the node's.
    pub async fn namespaces(
        &self,
        uid: &str,
        pids: &BTreeSet<i32>,
        ips: &[IpAddr],
    ) -> io::Result<Vec<Netns>> {
        let mut seen = Vec::new();
        let mut fitting = Vec::new();
        for pid in pids {
            let Some(candidate) = self.open_of(uid, *pid)? else {
                continue;
            };
            if candidate.id() == self.host || seen.contains(&candidate.id()) {
                continue;
            }
            seen.push(candidate.id());
            if ips.is_empty() || has_address(&candidate, ips).await? {
                fitting.push(candidate);
            }
        }
        Ok(fitting)
    }

    /// The pod's namespace, by its processes and addresses.
    pub async fn namespace(
        &self,
        uid: &str,
        pids: &BTreeSet<i32>,
        ips: &[IpAddr],
    ) -> Result<Netns, FindError> {
        let mut fitting = self.namespaces(uid, pids, ips).await?.into_iter();
        match (fitting.next(), fitting.next()) {
            (Some(_), Some(_)) if ips.is_empty() => Err(FindError::NoNamespace),
            (Some(first), _) => Ok(first),
            (None, _) => Err(FindError::NoNamespace),
        }
    }

    /// [`Self::processes`] and [`Self::namespace`] for one pod. A pass made
    /// for another pod just before serves this one too, when it is in it: what
    /// it says of a process is looked at again in any case.
    pub async fn find(&self, uid: &str, ips: &[IpAddr]) -> Result<Netns, FindError> {
        let mut last = self.last.lock().await;
        let processes = match last.as_ref() {
            Some(pass) if pass.at.elapsed() < REUSE && pass.processes.contains_key(uid) => {
                Arc::clone(&pass.processes)
            }
            _ => {
                let finder = self.clone();
                let scan = tokio::task::spawn_blocking(move || finder.processes());
                let processes = Arc::new(scan.await.map_err(io::Error::other)??);
                *last = Some(Pass {
                    at: Instant::now(),
                    processes: Arc::clone(&processes),
                });
                processes
            }
        };
        drop(last);
        let pids = processes.get(uid).ok_or(FindError::NoProcess)?;
        self.namespace(uid, pids, ips).await
    }

    /// `None` for a process of no pod, or one that has ended: it may at any moment.
    fn pod_of(&self, pid: i32) -> io::Result<Option<String>> {
        let path = self.proc.join(pid.to_string()).join("cgroup");
        Ok(unless_ended(std::fs::read_to_string(path))?.and_then(|text| pod_uid(&text)))
    }

    /// Opens the namespace of `pid`, which must be the pod's after the open
    /// too: the number may have passed to another process in between.
    fn open_of(&self, uid: &str, pid: i32) -> io::Result<Option<Netns>> {
        let path = self.proc.join(pid.to_string()).join("ns/net");
        let namespace = unless_ended(Netns::open(&path))?;
        let is_still = self.pod_of(pid)?.as_deref() == Some(uid);
        Ok(namespace.filter(|_| is_still))
    }
}

/// What a look at a process has shown; `None` when it has ended.
fn unless_ended<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn has_address(namespace: &Netns, ips: &[IpAddr]) -> io::Result<bool> {
    let ips = ips.to_vec();
    namespace
        .run(move || {
            Ok(getifaddrs()?
                .filter_map(|interface| interface.address)
                .any(|address| {
                    let ip = address
                        .as_sockaddr_in()
                        .map(|v4| IpAddr::V4(v4.ip()))
                        .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
                    ip.is_some_and(|ip| ips.contains(&ip))
                }))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f0c2a6e-6b1a-4a39-9d52-0a4d1c1e8f11";

    fn process_table(pid: &str, uid: &str) -> tempfile::TempDir {
        let table = tempfile::tempdir().unwrap();
        for name in [pid, "self", "net"] {
            std::fs::create_dir_all(table.path().join(name).join("ns")).unwrap();
            std::fs::write(
                table.path().join(name).join("cgroup"),
                format!("0::/kubepods/pod{uid}/c1\n"),
            )
            .unwrap();
            std::os::unix::fs::symlink(
                "/proc/thread-self/ns/net",
                table.path().join(name).join("ns/net"),
            )
            .unwrap();
        }
        table
    }

    #[tokio::test]
    async fn a_process_in_the_hosts_namespace_is_not_the_pods() {
        let table = process_table("42", UID);
        let finder = Finder::new(table.path()).unwrap();
        assert_eq!(finder.processes().unwrap()[UID], BTreeSet::from([42]));
        let loopback = ["127.0.0.1".parse().unwrap()];
        assert!(matches!(
            finder.find(UID, &loopback).await,
            Err(FindError::NoNamespace)
        ));
        assert!(matches!(
            finder.find("another", &loopback).await,
            Err(FindError::NoProcess)
        ));
    }

    #[test]
    fn r35_a_process_that_cannot_be_looked_at_is_not_taken_for_one_that_has_ended() {
        let table = process_table("42", UID);
        let cgroup = table.path().join("42/cgroup");
        std::fs::remove_file(&cgroup).unwrap();
        let finder = Finder::new(table.path()).unwrap();
        assert!(finder.processes().unwrap().is_empty());
        std::fs::create_dir(&cgroup).unwrap();
        assert!(finder.processes().is_err());
    }

    #[test]
    fn a_number_that_passed_to_another_process_is_not_opened() {
        let table = process_table("42", UID);
        let finder = Finder::new(table.path()).unwrap();
        assert!(finder.open_of(UID, 42).unwrap().is_some());
        assert!(finder.open_of("another", 42).unwrap().is_none());
    }
}
