use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tulle_metrics_server::Access;
use tulle_names::{AGENT_FIELD_MANAGER, API_VERSION, MESH_NAME};

use super::follow::{Change, follow};
use super::objects::{mesh_node_resource, mesh_resource, mesh_view, namespace_view, pod_view};
use super::view::{NamespaceView, PodView, View};
use super::{Cluster, ClusterError, MeshNodeSeen, StatusOutcome};
use crate::mesh_node::MeshNodeStatus;

/// Longest a single question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A real API server.
pub struct KubeCluster {
    client: Client,
    node: String,
    view: watch::Sender<View>,
    mesh_node: watch::Sender<MeshNodeSeen>,
}

impl KubeCluster {
    pub fn new(client: Client, node: &str) -> Arc<Self> {
        Arc::new(Self {
            client,
            node: node.to_owned(),
            view: watch::Sender::new(View::default()),
            mesh_node: watch::Sender::new(MeshNodeSeen::default()),
        })
    }

    /// Watches for ever.
    pub async fn watch(self: Arc<Self>) {
        let on_node = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        let only_default = watcher::Config::default().fields(&format!("metadata.name={MESH_NAME}"));
        let own = watcher::Config::default().fields(&format!("metadata.name={}", self.node));
        tokio::join!(
            follow("pods", watcher::watcher(self.pods(), on_node), |event| self
                .pods_changed(event)),
            follow(
                "namespaces",
                watcher::watcher(
                    Api::<PartialObjectMeta<Namespace>>::all(self.client.clone()),
                    watcher::Config::default()
                ),
                |event| self.namespaces_changed(event)
            ),
            follow(
                "meshes",
                watcher::watcher(self.meshes(), only_default),
                |event| self.mesh_changed(event)
            ),
            follow(
                "meshnodes",
                watcher::watcher(self.mesh_nodes(), own),
                |event| self.mesh_node_changed(event)
            ),
        );
    }

    fn pods(&self) -> Api<Pod> {
        Api::all(self.client.clone())
    }

    fn meshes(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &mesh_resource())
    }

    fn mesh_nodes(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &mesh_node_resource())
    }

    fn pods_changed(&self, change: Change<Pod>) {
        self.view.send_modify(|view| match change {
            Change::All(pods) => {
                view.pods = Arc::new(
                    pods.iter()
                        .filter_map(pod_view)
                        .map(|pod| (pod.uid.clone(), pod))
                        .collect(),
                );
                view.synced.pods = true;
            }
            Change::One(pod) => {
                if let Some(pod) = pod_view(&pod) {
                    Arc::make_mut(&mut view.pods).insert(pod.uid.clone(), pod);
                }
            }
            Change::Gone(pod) => {
                Arc::make_mut(&mut view.pods).remove(&pod.uid().unwrap_or_default());
            }
        });
    }

    fn namespaces_changed(&self, change: Change<PartialObjectMeta<Namespace>>) {
        self.view.send_modify(|view| match change {
            Change::All(all) => {
                let named = all
                    .iter()
                    .map(|one| (one.name_any(), namespace_view(one.labels())));
                view.namespaces = Arc::new(named.collect::<BTreeMap<_, _>>());
                view.synced.namespaces = true;
            }
            Change::One(one) => {
                Arc::make_mut(&mut view.namespaces)
                    .insert(one.name_any(), namespace_view(one.labels()));
            }
            Change::Gone(one) => {
                Arc::make_mut(&mut view.namespaces).remove(&one.name_any());
            }
        });
    }

    fn mesh_changed(&self, change: Change<DynamicObject>) {
        self.view.send_modify(|view| match change {
            Change::All(all) => {
                match all.first() {
                    Some(mesh) => view.set_mesh(mesh_view(mesh, view.mesh)),
                    None => view.list_without_mesh(),
                }
                view.synced.mesh = true;
            }
            Change::One(mesh) => view.set_mesh(mesh_view(&mesh, view.mesh)),
            Change::Gone(_) => view.set_mesh(None),
        });
    }

    fn mesh_node_changed(&self, change: Change<DynamicObject>) {
        let uid = match change {
            Change::All(all) => all.first().and_then(ResourceExt::uid),
            Change::One(object) => object.uid(),
            Change::Gone(_) => None,
        };
        self.mesh_node.send_if_modified(|known| {
            let is_another = known.uid != uid;
            if is_another {
                *known = MeshNodeSeen {
                    revision: known.revision + 1,
                    uid,
                };
            }
            is_another
        });
    }
}

impl Cluster for KubeCluster {
    fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    fn pod<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PodView>, ClusterError>> {
        async move {
            let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
            Ok(ask("reading the pod", pods.get_opt(name))
                .await?
                .as_ref()
                .and_then(pod_view))
        }
        .boxed()
    }

    fn namespace<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<NamespaceView>, ClusterError>> {
        async move {
            let namespaces = Api::<Namespace>::all(self.client.clone());
            let found = ask("reading the namespace", namespaces.get_metadata_opt(name)).await?;
            Ok(found.map(|namespace| namespace_view(namespace.labels())))
        }
        .boxed()
    }

    fn stored_status(&self) -> BoxFuture<'_, Result<Option<MeshNodeStatus>, ClusterError>> {
        async move {
            let api = self.mesh_nodes();
            let found = ask("reading MeshNode", api.get_opt(&self.node)).await?;
            Ok(found.map(|object| {
                let status = object.data.get("status").cloned().unwrap_or_default();
                // A status this version does not understand is as good as none: it is written anew.
                serde_json::from_value(status).unwrap_or_default()
            }))
        }
        .boxed()
    }

    fn store_status<'a>(
        &'a self,
        status: &'a MeshNodeStatus,
    ) -> BoxFuture<'a, Result<StatusOutcome, ClusterError>> {
        async move {
            let patch = json!({
                "apiVersion": API_VERSION,
                "kind": "MeshNode",
                "metadata": { "name": self.node },
                "status": status,
            });
            let parameters = PatchParams::apply(AGENT_FIELD_MANAGER).force();
            let api = self.mesh_nodes();
            match limited(api.patch_status(&self.node, &parameters, &Patch::Apply(&patch))).await {
                Ok(_) => Ok(StatusOutcome::Stored),
                Err(Unanswered::Api(kube::Error::Api(status))) if status.code == 404 => {
                    Ok(StatusOutcome::NoMeshNode)
                }
                Err(cause) => Err(cause.during("writing MeshNode status")),
            }
        }
        .boxed()
    }

    fn may_read_metrics<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Access, ClusterError>> {
        may_read_metrics(self.client.clone(), token).boxed()
    }

    fn mesh_node_replaced(&self) -> watch::Receiver<MeshNodeSeen> {
        self.mesh_node.subscribe()
    }
}

/// Why a question has no answer.
enum Unanswered {
    Api(kube::Error),
    Late,
}

impl Unanswered {
    fn during(self, what: &str) -> ClusterError {
        let cause = match self {
            Self::Api(error) => error.to_string(),
            Self::Late => format!("no answer within {LIMIT:?}"),
        };
        ClusterError {
            what: what.to_owned(),
            cause,
        }
    }
}

async fn limited<T>(question: impl Future<Output = kube::Result<T>>) -> Result<T, Unanswered> {
    match tokio::time::timeout(LIMIT, question).await {
        Ok(answer) => answer.map_err(Unanswered::Api),
        Err(_) => Err(Unanswered::Late),
    }
}

async fn ask<T>(
    what: &str,
    question: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    limited(question).await.map_err(|cause| cause.during(what))
}

async fn may_read_metrics(client: Client, token: &str) -> Result<Access, ClusterError> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: token.to_owned(),
            ..TokenReviewSpec::default()
        },
        ..TokenReview::default()
    };
    let (reviews, parameters) = (
        Api::<TokenReview>::all(client.clone()),
        PostParams::default(),
    );
    let reviewed = ask("reviewing a token", reviews.create(&parameters, &review));
    let status = reviewed.await?.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Ok(Access::Unauthenticated);
    };
    let access = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some("/metrics".to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(client);
    let reviewed = ask("reviewing an access", reviews.create(&parameters, &access));
    let allowed = reviewed.await?.status.is_some_and(|status| status.allowed);
    Ok(if allowed {
        Access::Allowed
    } else {
        Access::Forbidden
    })
}
