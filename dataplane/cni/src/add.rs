use std::fs::File;
use std::path::Path;

use tulle_cni_protocol::{ENROLLED_FILE, EnrolledNamespaces, Response, Sandbox, may_be_enrolled};

use crate::agent;
use crate::config::Config;
use crate::environment::Environment;
use crate::error::{CniError, Code};

/// The ADD command: the previous result, once the pod may start.
pub fn add<'a>(environment: &Environment, config: &'a Config) -> Result<&'a str, CniError> {
    let previous = config.previous_result()?;
    let Some(sandbox) = environment.sandbox() else {
        return Ok(previous);
    };
    if !may_be_enrolled(&sandbox.namespace) {
        return Ok(previous);
    }
    let sandbox = Sandbox {
        ips: config.addresses(),
        ..sandbox
    };
    let netns = open_netns(environment)?;
    let pod = format!("{}/{}", sandbox.namespace, sandbox.name);
    match agent::enrol(config, sandbox.clone(), &netns) {
        Ok(Response::Captured | Response::NotEnrolled | Response::Released) => Ok(previous),
        Ok(Response::Failed { message }) => Err(refused(&pod, &message)),
        Err(error) if must_wait(&config.run_dir().join(ENROLLED_FILE), &sandbox.namespace) => {
            Err(refused(
                &pod,
                &format!("tulle-agent does not answer on this node ({error})"),
            ))
        }
        Err(error) => {
            eprintln!(
                "tulle-cni: ADD {pod}: tulle-agent does not answer ({error}); the namespace is not in the mesh"
            );
            Ok(previous)
        }
    }
}

/// Whether a pod of `namespace` must not start without the agent: the
/// namespace is enrolled, or nobody can say.
fn must_wait(file: &Path, namespace: &str) -> bool {
    EnrolledNamespaces::read(file).map_or(true, |enrolled| enrolled.namespaces.contains(namespace))
}

fn open_netns(environment: &Environment) -> Result<File, CniError> {
    let path = environment
        .netns
        .as_ref()
        .ok_or_else(|| CniError::new(Code::InvalidEnvironment, "CNI_NETNS is not set"))?;
    File::open(path).map_err(|cause| {
        CniError::new(
            Code::Io,
            format!(
                "opening the pod's network namespace {}: {cause}",
                path.display()
            ),
        )
    })
}

fn refused(pod: &str, cause: &str) -> CniError {
    let message = format!(
        "{pod} is to be in the Tulle mesh and must not start outside it: {cause}. \
         It is tried again; if that does not help, look at the tulle-agent pod of this node: \
         kubectl -n tulle-system get pods -l app.kubernetes.io/name=tulle-agent -o wide"
    );
    CniError::new(Code::TryAgainLater, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_agent_only_namespaces_known_to_be_outside_may_start() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(ENROLLED_FILE);
        assert!(must_wait(&file, "shop"), "the file is missing");
        std::fs::write(&file, "{").unwrap();
        assert!(must_wait(&file, "shop"), "the file is cut short");
        EnrolledNamespaces {
            namespaces: ["shop".to_owned()].into(),
        }
        .write(&file)
        .unwrap();
        assert!(must_wait(&file, "shop"));
        assert!(!must_wait(&file, "elsewhere"));
    }
}
