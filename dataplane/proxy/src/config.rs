//! What the environment says; read once at start-up.
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use tulle_names::{
    CONTROL_GRPC_PORT, CONTROL_NAME, DEFAULT_CLUSTER_ID, DEFAULT_TRUST_DOMAIN, RUN_DIRECTORY,
    SYSTEM_NAMESPACE, TOKEN_PATH, TRUST_BUNDLE_PATH,
};

use crate::spiffe::TrustDomain;

const PLAINTEXT_METRICS_PORT: &str = "TULLE_PLAINTEXT_METRICS_PORT";

/// Which connections get a line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    All,
    Errors,
    Off,
}

/// The proxy's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub pod_name: String,
    pub pod_namespace: String,
    pub pod_ip: IpAddr,
    pub trust_domain: TrustDomain,
    pub cluster_id: String,
    pub network: String,
    /// `https://host:port` of the control plane.
    pub control: Uri,
    pub trust_bundle: PathBuf,
    pub token: PathBuf,
    pub run_dir: PathBuf,
    /// How long open connections may go on after SIGTERM or after their pod left.
    pub drain: Duration,
    pub access_log: AccessLog,
    /// Where metrics are served without TLS; nowhere, where the Mesh names nobody to read them.
    pub plaintext_metrics_port: Option<u16>,
    pub log: String,
}

/// A variable that is missing or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

impl Config {
    /// Reads the configuration through `lookup`, which answers one variable by name.
    ///
    /// # Errors
    /// Names the first variable that is required and absent, or malformed.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &'static str| lookup(name).filter(|value| !value.is_empty());
        let required =
            |name: &'static str| get(name).ok_or_else(|| problem(name, "is required and not set"));
        let or =
            |name: &'static str, default: &str| get(name).unwrap_or_else(|| default.to_owned());

        Ok(Self {
            node_name: required("TULLE_NODE_NAME")?,
            pod_name: required("TULLE_POD_NAME")?,
            pod_namespace: or("TULLE_POD_NAMESPACE", SYSTEM_NAMESPACE),
            pod_ip: parse("TULLE_POD_IP", &or("TULLE_POD_IP", "127.0.0.1"))?,
            trust_domain: parse(
                "TULLE_TRUST_DOMAIN",
                &or("TULLE_TRUST_DOMAIN", DEFAULT_TRUST_DOMAIN),
            )?,
            cluster_id: or("TULLE_CLUSTER_ID", DEFAULT_CLUSTER_ID),
            network: get("TULLE_NETWORK").unwrap_or_default(),
            control: control_address(&or(
                "TULLE_CONTROL_ADDRESS",
                &format!("https://{CONTROL_NAME}.{SYSTEM_NAMESPACE}.svc:{CONTROL_GRPC_PORT}"),
            ))?,
            trust_bundle: or("TULLE_TRUST_BUNDLE", TRUST_BUNDLE_PATH).into(),
            token: or("TULLE_TOKEN", TOKEN_PATH).into(),
            run_dir: or("TULLE_RUN_DIR", RUN_DIRECTORY).into(),
            drain: Duration::from_secs(parse(
                "TULLE_DRAIN_SECONDS",
                &or("TULLE_DRAIN_SECONDS", "30"),
            )?),
            access_log: access_log(&or("TULLE_ACCESS_LOG", "All"))?,
            plaintext_metrics_port: get(PLAINTEXT_METRICS_PORT)
                .map(|value| parse(PLAINTEXT_METRICS_PORT, &value))
                .transpose()?,
            log: or("TULLE_LOG", "info"),
        })
    }

    /// The agent's socket.
    pub fn zds_socket(&self) -> PathBuf {
        self.run_dir.join(tulle_zds::SOCKET_NAME)
    }

    /// The socket this proxy serves its status on.
    pub fn status_socket(&self) -> PathBuf {
        tulle_proxy_status::socket(&self.run_dir, &self.pod_name)
    }

    /// The workload uid of a pod of this cluster.
    pub fn workload_uid(&self, namespace: &str, name: &str) -> String {
        format!("{}//Pod/{namespace}/{name}", self.cluster_id)
    }
}

fn problem(name: &'static str, problem: impl ToString) -> ConfigError {
    ConfigError {
        name,
        problem: problem.to_string(),
    }
}

fn parse<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, ConfigError>
where
    T::Err: std::fmt::Display,
{
    value
        .parse()
        .map_err(|err| problem(name, format!("{value:?}: {err}")))
}

fn control_address(value: &str) -> Result<Uri, ConfigError> {
    const NAME: &str = "TULLE_CONTROL_ADDRESS";
    let uri: Uri = parse(NAME, value)?;
    if uri.scheme_str() != Some("https") {
        return Err(problem(
            NAME,
            format!("{value:?}: must begin with https://"),
        ));
    }
    if uri.host().is_none() || uri.port().is_none() {
        return Err(problem(NAME, format!("{value:?}: needs a host and a port")));
    }
    Ok(uri)
}

fn access_log(value: &str) -> Result<AccessLog, ConfigError> {
    match value {
        "All" => Ok(AccessLog::All),
        "Errors" => Ok(AccessLog::Errors),
        "Off" => Ok(AccessLog::Off),
        other => Err(problem(
            "TULLE_ACCESS_LOG",
            format!("{other:?}: must be All, Errors or Off"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let map: HashMap<&str, &str> = pairs.iter().copied().collect();
        Config::read(|name| map.get(name).map(|value| (*value).to_owned()))
    }

    const LEAST: [(&str, &str); 2] = [("TULLE_NODE_NAME", "n1"), ("TULLE_POD_NAME", "p1")];

    #[test]
    fn two_variables_are_enough() {
        let config = read(&LEAST).unwrap();
        assert_eq!(
            config.control.to_string(),
            "https://tulle-control.tulle-system.svc:15012/"
        );
        assert_eq!(config.drain, Duration::from_secs(30));
        assert_eq!(config.plaintext_metrics_port, None);
        assert_eq!(
            config.status_socket(),
            PathBuf::from("/run/tulle/proxies/p1.sock")
        );
        assert_eq!(
            config.workload_uid("shop", "web-0"),
            "Kubernetes//Pod/shop/web-0"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("TULLE_CONTROL_ADDRESS", "http://control:15012"),
            ("TULLE_CONTROL_ADDRESS", "https://control"),
            ("TULLE_TRUST_DOMAIN", "Not A Domain"),
            ("TULLE_DRAIN_SECONDS", "-1"),
            ("TULLE_ACCESS_LOG", "all"),
            ("TULLE_POD_IP", "::g"),
            ("TULLE_PLAINTEXT_METRICS_PORT", "on"),
        ] {
            let mut pairs = LEAST.to_vec();
            pairs.push((name, value));
            let err = read(&pairs).unwrap_err().to_string();
            assert!(err.contains(name), "{err}");
        }
        assert!(
            read(&[])
                .unwrap_err()
                .to_string()
                .contains("TULLE_NODE_NAME")
        );
    }
}
