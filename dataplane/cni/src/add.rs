use std::fs::File;
use std::path::Path;

use tulle_cni_protocol::{ENROLLED_FILE, EnrolledNamespaces, ProtocolError, Response, Sandbox};
use tulle_names::may_be_enrolled;

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
        Ok(Response::Captured | Response::NotEnrolled) => Ok(previous),
        Ok(Response::Failed { message }) => Err(refused(&pod, &message)),
        Ok(Response::Released) => Err(refused(&pod, "tulle-agent answers another question")),
        Err(error) => without_agent(config, &sandbox.namespace, &pod, &error).map(|()| previous),
    }
}

/// What becomes of a pod while the agent does not answer.
fn without_agent(
    config: &Config,
    namespace: &str,
    pod: &str,
    error: &ProtocolError,
) -> Result<(), CniError> {
    let silence = format!("tulle-agent does not answer on this node ({error})");
    let file = config.run_dir().join(ENROLLED_FILE);
    match EnrolledNamespaces::read(&file) {
        Ok(enrolled) if enrolled.namespaces.contains(namespace) => Err(refused(pod, &silence)),
        Ok(_) => {
            eprintln!("tulle-cni: ADD {pod}: {silence}; the namespace is not in the mesh");
            Ok(())
        }
        Err(cause) => Err(undecided(pod, &silence, &file, &cause)),
    }
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
    try_again(&format!(
        "{pod} is to be in the Tulle mesh and must not start outside it: {cause}"
    ))
}

/// The file does not outlive a reboot, and without it only the agent can say who is in the mesh.
fn undecided(pod: &str, silence: &str, file: &Path, cause: &std::io::Error) -> CniError {
    try_again(&format!(
        "{pod} waits until it is known whether it is to be in the Tulle mesh: {silence}, \
         and {} cannot be read ({cause}), as after a reboot until the agent has started",
        file.display()
    ))
}

fn try_again(what: &str) -> CniError {
    let message = format!(
        "{what}. It is tried again; if that does not help, look at the tulle-agent pod of this node: \
         kubectl -n tulle-system get pods -l app.kubernetes.io/name=tulle-agent -o wide"
    );
    CniError::new(Code::TryAgainLater, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r36_without_the_agent_only_namespaces_known_to_be_outside_may_start() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(ENROLLED_FILE);
        let run_dir = serde_json::json!({ "runDir": directory.path() }).to_string();
        let config = Config::read(run_dir.as_bytes()).unwrap();
        let error = ProtocolError::TooLong(0);
        let start = |namespace: &str| {
            let started = without_agent(&config, namespace, "a pod", &error);
            started.map_err(|refusal| refusal.message)
        };
        let undecided = |started: Result<(), String>| {
            started.is_err_and(|message| message.contains("until it is known"))
        };
        assert!(undecided(start("shop")), "the file is missing");
        std::fs::write(&file, "{").unwrap();
        assert!(undecided(start("shop")), "the file is cut short");
        EnrolledNamespaces {
            namespaces: ["shop".to_owned()].into(),
        }
        .write(&file)
        .unwrap();
        assert!(start("shop").unwrap_err().contains("is to be in"));
        assert_eq!(start("elsewhere"), Ok(()));
    }
}
