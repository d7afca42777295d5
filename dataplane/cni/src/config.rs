use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;
use tulle_names::RUN_DIRECTORY;

use crate::error::{CniError, Code};

/// Longest configuration read from standard input, bytes.
pub const MAX_CONFIG: u64 = 1024 * 1024;

/// Our part of the chain's configuration, with what the plugins before made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default)]
    pub cni_version: Option<String>,
    /// Kept as it came: it is our result, to the byte.
    #[serde(default)]
    prev_result: Option<Box<RawValue>>,
    #[serde(default)]
    run_dir: Option<PathBuf>,
}

/// The addresses in a result; the rest of it is none of our business.
#[derive(Deserialize)]
struct Addresses {
    #[serde(default)]
    ips: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    address: String,
}

impl Config {
    pub fn read(input: impl Read) -> Result<Self, CniError> {
        let mut text = Vec::new();
        input
            .take(MAX_CONFIG + 1)
            .read_to_end(&mut text)
            .map_err(|cause| {
                CniError::new(Code::Io, format!("reading the configuration: {cause}"))
            })?;
        if text.len() as u64 > MAX_CONFIG {
            return Err(CniError::new(
                Code::Decode,
                format!("the configuration is longer than {MAX_CONFIG} bytes"),
            ));
        }
        serde_json::from_slice(&text).map_err(|cause| {
            CniError::new(
                Code::Decode,
                format!("the configuration is not understood: {cause}"),
            )
        })
    }

    /// What the plugins before us made, exactly as they said it.
    pub fn previous_result(&self) -> Result<&str, CniError> {
        self.prev_result
            .as_deref()
            .map(RawValue::get)
            .ok_or_else(|| {
                let message =
                    "there is no prevResult: tulle-cni only works at the end of a chain of plugins";
                CniError::new(Code::InvalidConfig, message)
            })
    }

    /// The addresses the pod was given; what is not understood is left out.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let Some(result) = &self.prev_result else {
            return Vec::new();
        };
        let Ok(addresses) = serde_json::from_str::<Addresses>(result.get()) else {
            return Vec::new();
        };
        let ip = |one: &Address| one.address.split('/').next().and_then(|ip| ip.parse().ok());
        addresses.ips.iter().filter_map(ip).collect()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.run_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(RUN_DIRECTORY))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_previous_result_is_kept_to_the_byte() {
        let previous = r#"{ "cniVersion":"1.0.0",  "ips":[ {"address":"10.244.1.3/24","gateway":"10.244.1.1"}, {"address":"fd00::3/64"}],"x":1.10}"#;
        let config = Config::read(
            format!(
                r#"{{"cniVersion":"1.0.0","name":"n","type":"tulle-cni","prevResult":{previous}}}"#
            )
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(config.previous_result().unwrap(), previous);
        assert_eq!(
            config.addresses(),
            [
                "10.244.1.3".parse::<IpAddr>().unwrap(),
                "fd00::3".parse().unwrap()
            ]
        );
        assert_eq!(config.run_dir(), PathBuf::from("/run/tulle"));
    }

    #[test]
    fn addresses_of_an_odd_result_are_left_out() {
        for previous in [
            "{}",
            "[]",
            "3",
            r#"{"ips":3}"#,
            r#"{"ips":[{}]}"#,
            r#"{"ips":[{"address":"x/24"}]}"#,
        ] {
            let config =
                Config::read(format!(r#"{{"prevResult":{previous}}}"#).as_bytes()).unwrap();
            assert!(config.addresses().is_empty(), "{previous}");
        }
    }

    #[test]
    fn a_configuration_too_long_is_refused() {
        assert_eq!(
            Config::read(std::io::repeat(b' ')).unwrap_err().code,
            Code::Decode
        );
    }

    proptest! {
        #[test]
        fn no_input_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(config) = Config::read(bytes.as_slice()) {
                config.addresses();
            }
        }

        #[test]
        fn no_mangled_configuration_breaks_the_parser(cut in 0usize..200, byte in any::<u8>()) {
            let mut text = br#"{"cniVersion":"1.0.0","name":"pods","type":"tulle-cni","runDir":"/run/tulle","prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.244.1.3/24"}],"dns":{}}}"#.to_vec();
            let at = cut % text.len();
            text[at] = byte;
            if let Ok(config) = Config::read(text.as_slice()) {
                config.addresses();
                config.run_dir();
            }
            let _ = Config::read(&text[..at]).map(|config| config.addresses());
        }
    }
}
