use serde_json::json;

/// Error codes of the CNI specification, as far as we use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidEnvironment = 4,
    Io = 5,
    Decode = 6,
    InvalidConfig = 7,
    TryAgainLater = 11,
}

/// A command that failed, as the container runtime shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    pub code: Code,
    pub message: String,
}

impl CniError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The error result of the CNI specification.
    pub fn to_json(&self, version: &str) -> String {
        json!({ "cniVersion": version, "code": self.code as u32, "msg": self.message }).to_string()
    }
}
