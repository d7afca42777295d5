use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use tulle_cni_protocol::{Request, Response, Sandbox, receive, send};
use tulle_names::may_be_enrolled;

use crate::cluster::{Cluster, ClusterError, NamespaceView, PodView};
use crate::enrol::{Decision, Enroller, Node, Progress, decide};
use crate::netns::Netns;

/// Longest a pod's start waits for its enrolment; the plugin waits a little longer.
const ENROL_LIMIT: Duration = Duration::from_secs(20);
/// Longest the plugin may take to ask.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Answers the CNI plugin.
pub struct Answers {
    pub cluster: Arc<dyn Cluster>,
    pub enroller: Arc<Enroller>,
    pub node: Arc<Node>,
}

/// Listens at `path` (mode 0600) and answers for ever. An error only when it cannot listen.
pub async fn serve(path: &Path, answers: Arc<Answers>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    if let Err(cause) = answers.converse(stream).await {
                        warn!(err = %cause, "the CNI plugin was not answered");
                    }
                });
            }
            Err(cause) => {
                error!(err = %cause, "cannot accept the CNI plugin's connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Answers {
    async fn converse(&self, stream: tokio::net::UnixStream) -> anyhow::Result<()> {
        let stream = stream.into_std()?;
        let (stream, request, namespace) =
            tokio::task::spawn_blocking(move || receive_question(stream)).await??;
        let response = self.answer(request, namespace).await;
        debug!(?response, "answered the CNI plugin");
        tokio::task::spawn_blocking(move || send(&stream, &response, None)).await??;
        Ok(())
    }

    async fn answer(&self, request: Request, namespace: Option<Netns>) -> Response {
        match (request, namespace) {
            (Request::Add(sandbox), Some(namespace)) => self.add(sandbox, namespace).await,
            (Request::Add(_), None) => failed("the network namespace was not sent along"),
            (Request::Del(sandbox), namespace) => {
                self.enroller.stop(
                    |pod| is_pod_of(&sandbox, pod),
                    &sandbox.container_id,
                    namespace.as_ref(),
                );
                Response::Released
            }
        }
    }

    async fn add(&self, sandbox: Sandbox, namespace: Netns) -> Response {
        let pod = match self.pod_to_enrol(&sandbox).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return Response::NotEnrolled,
            Err(message) => return Response::Failed { message },
        };
        info!(workload = %pod.name, namespace = %pod.namespace, uid = %pod.uid, "enrolling a pod before it starts");
        let started = self
            .enroller
            .start(pod.clone(), namespace.clone(), &sandbox.container_id);
        let mut progress = started.progress;
        let enrolled = self.enrolled(&mut progress, &namespace);
        match tokio::time::timeout(ENROL_LIMIT, enrolled).await {
            Ok(Ok(())) => Response::Captured,
            Ok(Err(message)) => Response::Failed { message },
            Err(_) => {
                let failure = progress.borrow().failure.clone();
                let cause = failure.unwrap_or_else(|| "MeshNode could not be written".to_owned());
                failed(&format!(
                    "the pod was not enrolled within {} s: {cause}",
                    ENROL_LIMIT.as_secs()
                ))
            }
        }
    }

    /// Waits until the pod is captured and MeshNode says so, or waiting is in vain.
    async fn enrolled(
        &self,
        progress: &mut watch::Receiver<Progress>,
        namespace: &Netns,
    ) -> Result<(), String> {
        let is_decided = |now: &Progress| {
            (now.captured || now.definite) && now.namespace == Some(namespace.id())
        };
        let decided = progress.wait_for(is_decided).await;
        let decided = decided
            .map_err(|_| "its enrolment was given up".to_owned())?
            .clone();
        if let (false, Some(failure)) = (decided.captured, decided.failure) {
            return Err(failure);
        }
        let (revision, _) = self.node.store.status();
        match self.node.store.written(revision, ENROL_LIMIT).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(
                "this node has no MeshNode yet, so peers cannot be told; tulle-operator makes it"
                    .to_owned(),
            ),
            Err(late) => Err(late.to_string()),
        }
    }

    /// The pod, when it is to be in the mesh. Asked freshly: the watch may
    /// lag behind a label. When the API server does not answer, what the watch
    /// has is good enough to let a pod pass that nobody asked to enrol.
    async fn pod_to_enrol(&self, sandbox: &Sandbox) -> Result<Option<PodView>, String> {
        let view = self.node.view.borrow().clone();
        if !may_be_enrolled(&sandbox.namespace) || view.is_mesh_gone() {
            return Ok(None);
        }
        let fresh = try_join(
            self.cluster.pod(&sandbox.namespace, &sandbox.name),
            self.cluster.namespace(&sandbox.namespace),
        )
        .await;
        let (pod, namespace) = match fresh {
            Ok((Some(pod), Some(namespace))) => (pod, namespace),
            Ok(_) => return Err("the API server does not know the pod or its namespace".to_owned()),
            Err(error) => self.watched(sandbox).ok_or_else(|| unanswered(&error))?,
        };
        if sandbox.uid.as_ref().is_some_and(|uid| *uid != pod.uid) {
            return Err("another pod of the same name has taken its place".to_owned());
        }
        // The Mesh is not known to be gone, see above; unseen it is taken to be there.
        let is_enrolled = decide(&pod, &namespace, true) == Decision::Enrol;
        let ips = if sandbox.ips.is_empty() {
            pod.ips.clone()
        } else {
            sandbox.ips.clone()
        };
        Ok(is_enrolled.then_some(PodView { ips, ..pod }))
    }

    fn watched(&self, sandbox: &Sandbox) -> Option<(PodView, NamespaceView)> {
        let view = self.node.view.borrow();
        let pod = view.pods.values().find(|pod| is_pod_of(sandbox, pod))?;
        Some((
            pod.clone(),
            view.namespaces.get(&sandbox.namespace)?.clone(),
        ))
    }
}

fn receive_question(stream: UnixStream) -> anyhow::Result<(UnixStream, Request, Option<Netns>)> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ASK_LIMIT))?;
    stream.set_write_timeout(Some(ASK_LIMIT))?;
    let (request, descriptor) = receive(&stream)?;
    let namespace = descriptor.map(Netns::from_fd).transpose()?;
    Ok((stream, request, namespace))
}

fn is_pod_of(sandbox: &Sandbox, pod: &PodView) -> bool {
    match &sandbox.uid {
        Some(uid) => *uid == pod.uid,
        None => pod.namespace == sandbox.namespace && pod.name == sandbox.name,
    }
}

fn unanswered(error: &ClusterError) -> String {
    format!("the API server does not answer ({error})")
}

fn failed(message: &str) -> Response {
    Response::Failed {
        message: message.to_owned(),
    }
}
