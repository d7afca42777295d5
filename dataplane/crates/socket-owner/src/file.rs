use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{OWNER_FILE, SocketOwner};

/// Why there is no owner.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    #[error(
        "{path} does not hold a mark, a user and a group of ours; remove it and restart tulle-agent"
    )]
    Malformed { path: PathBuf },
}

/// The owner kept in `run_dir`; none where nobody has drawn one.
///
/// # Errors
/// When the file is there and cannot be used: going on without would open what it protects.
pub fn read(run_dir: &Path) -> Result<Option<SocketOwner>, FileError> {
    let path = run_dir.join(OWNER_FILE);
    match fs::read(&path) {
        Ok(text) => match serde_json::from_slice::<SocketOwner>(&text) {
            Ok(owner) if owner.is_sound() => Ok(Some(owner)),
            _ => Err(FileError::Malformed { path }),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FileError::Io { path, cause }),
    }
}

/// The owner kept in `run_dir`, drawn and kept now if there is none. For the agent, of which there
/// is one on a node.
///
/// # Errors
/// As [`read`], and when the file cannot be written.
pub fn obtain(run_dir: &Path) -> Result<SocketOwner, FileError> {
    if let Some(owner) = read(run_dir)? {
        return Ok(owner);
    }
    let path = run_dir.join(OWNER_FILE);
    let draw = || {
        let owner = SocketOwner::random()?;
        let draft = path.with_extension("draft");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec(&owner)?)?;
        // Whole or not at all: half a file would keep every pod out of the mesh.
        fs::rename(&draft, &path)?;
        Ok(owner)
    };
    draw().map_err(|cause| FileError::Io {
        path: path.clone(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_drawn_once_and_only_root_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let owner = obtain(folder.path()).unwrap();
        assert_eq!(obtain(folder.path()).unwrap(), owner);
        assert_eq!(read(folder.path()).unwrap(), Some(owner));
        let mode = fs::metadata(folder.path().join(OWNER_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_protects_nothing_is_an_error_and_never_as_if_there_were_none() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", r#"{"mark":1337,"uid":0,"gid":0}"#, "null"] {
            fs::write(folder.path().join(OWNER_FILE), text).unwrap();
            assert!(read(folder.path()).is_err(), "{text}");
            assert!(obtain(folder.path()).is_err(), "{text}");
        }
    }
}
