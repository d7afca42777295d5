use std::path::{Path, PathBuf};

/// What the DaemonSet tells the agent by its environment.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: String,
    pub version: String,
    /// `TULLE_RUN_DIR`: sockets and files shared with proxies and the CNI plugin.
    pub run_dir: PathBuf,
    /// `TULLE_HOST_RUN_DIR`: the same by the node's own mounts.
    pub host_run_dir: PathBuf,
    /// `TULLE_CNI_CONF_DIR`, `TULLE_CNI_BIN_DIR`: the node's, where they are mounted.
    pub cni_conf_dir: PathBuf,
    pub cni_bin_dir: PathBuf,
    /// `TULLE_PROC`: the node's process table.
    pub proc: PathBuf,
    /// `TULLE_LOG`: a level, or directives of tracing's `EnvFilter`.
    pub log: String,
}

#[derive(Debug, thiserror::Error)]
#[error("the environment lacks {0}; the DaemonSet tulle-agent sets it")]
pub struct MissingSetting(&'static str);

impl Settings {
    pub fn from_environment() -> Result<Self, MissingSetting> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(read: impl Fn(&'static str) -> Option<String>) -> Result<Self, MissingSetting> {
        let path =
            |name, default: &str| PathBuf::from(read(name).unwrap_or_else(|| default.to_owned()));
        let run_dir = path("TULLE_RUN_DIR", tulle_names::RUN_DIRECTORY);
        let proc = path("TULLE_PROC", "/proc");
        let on_host = read("TULLE_HOST_RUN_DIR").map(PathBuf::from);
        Ok(Self {
            host_run_dir: on_host.unwrap_or_else(|| by_first_process(&proc, &run_dir)),
            node: read("TULLE_NODE_NAME").ok_or(MissingSetting("TULLE_NODE_NAME"))?,
            version: read("TULLE_VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            run_dir,
            cni_conf_dir: path("TULLE_CNI_CONF_DIR", "/host/etc/cni/net.d"),
            cni_bin_dir: path("TULLE_CNI_BIN_DIR", "/host/opt/cni/bin"),
            proc,
            log: read("TULLE_LOG").unwrap_or_else(|| "info".to_owned()),
        })
    }
}

/// A path as the node's first process sees it.
fn by_first_process(proc: &Path, path: &Path) -> PathBuf {
    let root = proc.join("1/root");
    path.strip_prefix("/")
        .map_or_else(|_| root.clone(), |path| root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nodes_name_has_no_default() {
        assert!(
            Settings::from(|_| None)
                .unwrap_err()
                .to_string()
                .contains("TULLE_NODE_NAME")
        );
        let settings =
            Settings::from(|name| (name == "TULLE_NODE_NAME").then(|| "node1".to_owned())).unwrap();
        assert_eq!(settings.run_dir, PathBuf::from("/run/tulle"));
        assert_eq!(
            settings.host_run_dir,
            PathBuf::from("/proc/1/root/run/tulle")
        );
        assert_eq!(settings.log, "info");
    }
}
