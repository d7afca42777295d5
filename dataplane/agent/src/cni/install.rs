use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tulle_cni_protocol::PLUGIN_TYPE;

use super::chain::{chain, has_own_name, is_own, original, own_file_name};
use crate::report::CniStatus;

/// Puts the plugin on the node and takes it off again. Only files of our own
/// are ever written or removed.
#[derive(Clone, Debug)]
pub struct Installer {
    /// The plugin's binary in this container.
    pub source: PathBuf,
    pub bin_dir: PathBuf,
    pub conf_dir: PathBuf,
    /// The run directory as the node sees it.
    pub run_dir: String,
    /// The binary on the node, as it was when it was last compared.
    pub verified: Arc<Mutex<Option<Stamp>>>,
}

/// What changes when a file is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: file.ino(),
            length: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl Installer {
    /// Brings the node's files to what they should be, writing only what
    /// differs: the binary first, because the runtime uses a configuration as
    /// soon as it sees it.
    pub fn install(&self) -> CniStatus {
        match self.try_install() {
            Ok(status) => status,
            Err(error) => CniStatus {
                message: error.to_string(),
                ..CniStatus::default()
            },
        }
    }

    fn try_install(&self) -> io::Result<CniStatus> {
        self.install_binary()?;
        let names = self.configuration_names()?;
        let Some(original) = original(names.iter().map(String::as_str)) else {
            self.remove_configurations(None)?;
            let message =
                "the node has no CNI configuration yet; new pods are not captured as they start"
                    .to_owned();
            return Ok(CniStatus {
                message,
                ..CniStatus::default()
            });
        };
        let path = self.conf_dir.join(original);
        let text = std::fs::read_to_string(&path).map_err(during("reading", &path))?;
        let chained = match chain(&text, &self.run_dir) {
            Ok(chained) => chained,
            Err(error) => {
                return Err(io::Error::other(format!(
                    "{original} cannot be chained to: {error}"
                )));
            }
        };
        let Some(own) = own_file_name(original) else {
            return Err(io::Error::other(format!(
                "no file name sorts before {original}; rename that"
            )));
        };
        replace(&self.conf_dir.join(&own), chained.as_bytes(), 0o644)?;
        self.remove_configurations(Some(&own))?;
        Ok(CniStatus {
            installed: true,
            configuration_file: own,
            message: String::new(),
        })
    }

    /// The binary is megabytes: it is compared once, then only its file's stamp.
    fn install_binary(&self) -> io::Result<()> {
        let path = self.bin_dir.join(PLUGIN_TYPE);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.is_some() && *verified == Stamp::of(&path) {
            return Ok(());
        }
        let binary = std::fs::read(&self.source).map_err(during("reading", &self.source))?;
        replace(&path, &binary, 0o755)?;
        *verified = Stamp::of(&path);
        Ok(())
    }

    /// Takes everything off the node, the configuration before the binary it names.
    pub fn uninstall(&self) -> io::Result<()> {
        self.remove_configurations(None)?;
        remove(&self.bin_dir.join(PLUGIN_TYPE))
    }

    fn remove_configurations(&self, keep: Option<&str>) -> io::Result<()> {
        for name in self.configuration_names()? {
            let path = self.conf_dir.join(&name);
            let is_left_over = has_own_name(&name) && Some(name.as_str()) != keep;
            if is_left_over && std::fs::read_to_string(&path).is_ok_and(|text| is_own(&text)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn configuration_names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.conf_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(during("reading", &self.conf_dir)(error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
}

/// Replaces a file at once (rename), unless it is as it should be. The
/// temporary name has no extension the runtime would read.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tulle-new"));
    let write = || -> io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(during("writing", path))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(during("removing", path)),
    }
}

fn during(what: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error + use<> {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        _root: tempfile::TempDir,
        installer: Installer,
    }

    fn machine() -> Machine {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["bin", "conf"] {
            std::fs::create_dir(path(directory)).unwrap();
        }
        std::fs::write(path("tulle-cni"), "binary").unwrap();
        let installer = Installer {
            source: path("tulle-cni"),
            bin_dir: path("bin"),
            conf_dir: path("conf"),
            run_dir: "/run/tulle".into(),
            verified: Arc::default(),
        };
        Machine {
            _root: root,
            installer,
        }
    }

    impl Machine {
        fn conf(&self, name: &str) -> PathBuf {
            self.installer.conf_dir.join(name)
        }

        fn files(&self) -> Vec<String> {
            let mut names = self.installer.configuration_names().unwrap();
            names.sort();
            names
        }
    }

    const ORIGINAL: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"}]}"#;

    #[test]
    fn the_plugin_follows_the_original_and_leaves_no_trace() {
        let machine = machine();
        std::fs::write(machine.conf("10-bridge.conflist"), ORIGINAL).unwrap();
        let status = machine.installer.install();
        assert_eq!(
            (status.installed, status.configuration_file.as_str()),
            (true, "00-tulle.conflist")
        );
        assert_eq!(
            std::fs::read_to_string(machine.installer.bin_dir.join("tulle-cni")).unwrap(),
            "binary"
        );

        let changed = ORIGINAL.replace("bridge", "ptp");
        std::fs::write(machine.conf("10-bridge.conflist"), &changed).unwrap();
        machine.installer.install();
        assert!(
            std::fs::read_to_string(machine.conf("00-tulle.conflist"))
                .unwrap()
                .contains("ptp")
        );

        machine.installer.uninstall().unwrap();
        assert_eq!(machine.files(), ["10-bridge.conflist"]);
        assert_eq!(
            std::fs::read_to_string(machine.conf("10-bridge.conflist")).unwrap(),
            changed
        );
        assert!(
            std::fs::read_dir(&machine.installer.bin_dir)
                .unwrap()
                .next()
                .is_none()
        );
    }

    #[test]
    fn a_binary_that_was_changed_or_removed_is_put_back() {
        let machine = machine();
        let path = machine.installer.bin_dir.join("tulle-cni");
        machine.installer.install();
        std::fs::write(&path, "yranib").unwrap();
        machine.installer.install();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "binary");
        std::fs::remove_file(&path).unwrap();
        machine.installer.install();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "binary");
    }

    #[test]
    fn a_new_original_that_sorts_earlier_moves_our_file_before_it() {
        let machine = machine();
        std::fs::write(machine.conf("10-bridge.conflist"), ORIGINAL).unwrap();
        machine.installer.install();
        std::fs::write(machine.conf("00-a.conflist"), ORIGINAL).unwrap();
        let status = machine.installer.install();
        assert_eq!(
            machine.files(),
            [
                status.configuration_file.as_str(),
                "00-a.conflist",
                "10-bridge.conflist"
            ]
        );
    }

    #[test]
    fn a_node_without_configuration_says_so_and_gets_none() {
        let machine = machine();
        let status = machine.installer.install();
        assert!(
            !status.installed && status.message.contains("no CNI configuration"),
            "{status:?}"
        );
        assert!(machine.files().is_empty());
    }

    #[test]
    fn our_file_goes_when_the_original_goes() {
        let machine = machine();
        std::fs::write(machine.conf("10-bridge.conflist"), ORIGINAL).unwrap();
        machine.installer.install();
        std::fs::remove_file(machine.conf("10-bridge.conflist")).unwrap();
        assert!(!machine.installer.install().installed);
        assert!(machine.files().is_empty());
    }

    #[test]
    fn a_broken_original_is_named_and_left_alone() {
        let machine = machine();
        std::fs::write(machine.conf("10-bridge.conflist"), "{").unwrap();
        let status = machine.installer.install();
        assert!(
            !status.installed && status.message.contains("10-bridge.conflist"),
            "{status:?}"
        );
        assert_eq!(machine.files(), ["10-bridge.conflist"]);
    }

    #[test]
    fn a_file_that_only_has_our_name_is_not_removed() {
        let machine = machine();
        std::fs::write(machine.conf("50-tulle.conflist"), ORIGINAL).unwrap();
        machine.installer.uninstall().unwrap();
        assert_eq!(machine.files(), ["50-tulle.conflist"]);
    }
}
