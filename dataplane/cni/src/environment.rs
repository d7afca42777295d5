use std::path::PathBuf;

use tulle_cni_protocol::Sandbox;

use crate::error::{CniError, Code};

/// What the runtime says in `CNI_*` variables.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub command: Option<String>,
    pub container_id: Option<String>,
    pub netns: Option<PathBuf>,
    /// `KEY=value;…`; Kubernetes' runtimes name the pod here.
    pub args: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Version,
    Status,
    Gc,
}

impl Environment {
    pub fn from_process() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            command: read("CNI_COMMAND"),
            container_id: read("CNI_CONTAINERID"),
            netns: read("CNI_NETNS").map(PathBuf::from),
            args: read("CNI_ARGS"),
        }
    }

    pub fn command(&self) -> Result<Command, CniError> {
        match self.command.as_deref() {
            Some("ADD") => Ok(Command::Add),
            Some("DEL") => Ok(Command::Del),
            Some("CHECK") => Ok(Command::Check),
            Some("VERSION") => Ok(Command::Version),
            Some("STATUS") => Ok(Command::Status),
            Some("GC") => Ok(Command::Gc),
            other => {
                let what = other.unwrap_or("(none)");
                Err(CniError::new(
                    Code::InvalidEnvironment,
                    format!("CNI_COMMAND {what} is not one tulle-cni knows"),
                ))
            }
        }
    }

    /// The pod the sandbox is for; `None` where it is not a Kubernetes pod's.
    pub fn sandbox(&self) -> Option<Sandbox> {
        Some(Sandbox {
            container_id: self.container_id.clone().unwrap_or_default(),
            namespace: self.argument("K8S_POD_NAMESPACE")?.to_owned(),
            name: self.argument("K8S_POD_NAME")?.to_owned(),
            uid: self.argument("K8S_POD_UID").map(str::to_owned),
            ips: Vec::new(),
        })
    }

    fn argument(&self, name: &str) -> Option<&str> {
        self.args
            .as_deref()?
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_named_by_the_runtimes_arguments() {
        let environment = Environment {
            container_id: Some("c1".into()),
            args: Some(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-1;K8S_POD_UID=u1".into(),
            ),
            ..Environment::default()
        };
        let sandbox = environment.sandbox().unwrap();
        assert_eq!(
            (sandbox.namespace.as_str(), sandbox.name.as_str()),
            ("shop", "cart-1")
        );
        assert_eq!(sandbox.uid.as_deref(), Some("u1"));
    }

    #[test]
    fn what_is_not_a_pods_sandbox_has_none() {
        for args in [
            None,
            Some(""),
            Some("K8S_POD_NAMESPACE=shop"),
            Some("K8S_POD_NAMESPACE=;K8S_POD_NAME=x"),
            Some(";;=;"),
        ] {
            let environment = Environment {
                args: args.map(str::to_owned),
                ..Environment::default()
            };
            assert!(environment.sandbox().is_none(), "{args:?}");
        }
    }
}
