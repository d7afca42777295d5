use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Longest file the plugin reads, bytes: more namespaces than a cluster can have.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// The namespaces whose pods must not start without the agent. The agent
/// keeps the file; the plugin reads it when the agent does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledNamespaces {
    pub namespaces: BTreeSet<String>,
}

impl EnrolledNamespaces {
    /// Reads the file; an error where it is missing, too long or not understood.
    pub fn read(path: &Path) -> io::Result<Self> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(MAX_FILE)
            .read_to_string(&mut text)?;
        serde_json::from_str(&text).map_err(io::Error::from)
    }

    /// Replaces the file at once (rename): a reader sees the old or the new one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("json.new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    }
}
