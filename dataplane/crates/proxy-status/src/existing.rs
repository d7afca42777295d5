use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which connections a proxy is to end: a pod's in plaintext with peers that have joined the mesh since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndExistingConnections {
    pub uid: String,
    quiet_milliseconds: Option<u64>,
}

/// How many a proxy has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub ended: usize,
}

impl EndExistingConnections {
    /// Those in which nothing has moved for `quiet`; all of them without it.
    pub fn new(uid: &str, quiet: Option<Duration>) -> Self {
        let milliseconds = |quiet: Duration| u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
        Self {
            uid: uid.to_owned(),
            quiet_milliseconds: quiet.map(milliseconds),
        }
    }

    pub fn quiet(&self) -> Option<Duration> {
        self.quiet_milliseconds.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let quiet = Some(Duration::from_secs(1));
        for (quiet, milliseconds) in [(quiet, Some(1000)), (None, None)] {
            let order = EndExistingConnections::new("u1", quiet);
            let json = serde_json::json!({ "uid": "u1", "quietMilliseconds": milliseconds });
            assert_eq!(serde_json::to_value(&order).unwrap(), json);
            let read: EndExistingConnections = serde_json::from_value(json).unwrap();
            assert_eq!((read.quiet(), &read), (quiet, &order));
        }
    }

    #[test]
    fn an_order_that_is_not_understood_whole_is_none() {
        let more = r#"{"uid":"u1","quietMilliseconds":null,"onlyFrom":"10.0.0.1"}"#;
        assert!(serde_json::from_str::<EndExistingConnections>(more).is_err());
    }
}
