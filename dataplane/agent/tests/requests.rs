//! What the agent asks the API server. `requests.txt` is what its rights are held against
//! (test/unit/render/access.test.ts), so it must be what is really asked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Notify;
use tulle_agent::cluster::{Cluster, KubeCluster};
use tulle_agent::report::MeshNodeStatus;

const PATIENCE: Duration = Duration::from_secs(10);

/// An API server of an empty cluster, and what it was asked.
#[derive(Default)]
struct Recorder {
    asked: Mutex<BTreeSet<String>>,
    more: Notify,
}

impl Recorder {
    fn client(self: &Arc<Self>) -> Client {
        let recorder = self.clone();
        let answer = move |request: Request<Body>| {
            let recorder = recorder.clone();
            let asked = Asked::of(&request);
            async move { recorder.answer(asked).await }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    async fn answer(&self, asked: Asked) -> Result<Response<Body>, Infallible> {
        let answer = asked.answer();
        self.asked.lock().unwrap().insert(asked.line);
        self.more.notify_one();
        match answer {
            Some((status, body)) => {
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = status;
                Ok(response)
            }
            // Nothing ever changes.
            None => std::future::pending().await,
        }
    }
}

/// A request as a rule of RBAC sees it, with the field selector, which no rule sees.
struct Asked {
    verb: &'static str,
    line: String,
}

impl Asked {
    fn of(request: &Request<Body>) -> Self {
        let uri = request.uri();
        let query: Vec<(String, String)> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
            .collect();
        let parameter = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let (group, rest) = match path.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => panic!("{uri} is no resource"),
        };
        let (resource, name) = match rest {
            ["namespaces", _, resource, name] => ((*resource).to_owned(), Some(*name)),
            [resource, name, subresource] => (format!("{resource}/{subresource}"), Some(*name)),
            [resource, name] => ((*resource).to_owned(), Some(*name)),
            [resource] => ((*resource).to_owned(), None),
            _ => panic!("{uri} is no resource"),
        };
        let verb = match (request.method().as_str(), name) {
            ("GET", Some(_)) => "get",
            ("GET", None) if parameter("watch") == Some("true") => "watch",
            ("GET", None) => "list",
            ("PATCH", Some(_)) => "patch",
            ("POST", None) => "create",
            (method, _) => panic!("{method} {uri}"),
        };
        let selector = parameter("fieldSelector").unwrap_or_default();
        let name = name.or_else(|| selector.strip_prefix("metadata.name="));
        let line = format!(
            "{verb} {group}/{resource} {} {selector}",
            name.unwrap_or("*")
        );
        Self {
            verb,
            line: line.trim_end().to_owned(),
        }
    }

    fn answer(&self) -> Option<(StatusCode, serde_json::Value)> {
        match self.verb {
            "watch" => None,
            "list" => Some((
                StatusCode::OK,
                json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [] }),
            )),
            // Of a review: somebody whom everything is allowed.
            "create" => Some((
                StatusCode::CREATED,
                json!({ "metadata": {}, "spec": {},
                        "status": { "authenticated": true, "user": { "username": "scraper" }, "allowed": true } }),
            )),
            _ => Some((
                StatusCode::NOT_FOUND,
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "not found", "reason": "NotFound", "code": 404 }),
            )),
        }
    }
}

#[tokio::test]
async fn the_agent_asks_for_what_is_listed_and_of_pods_for_its_own_nodes_alone() {
    let recorder = Arc::new(Recorder::default());
    let cluster = KubeCluster::new(recorder.client(), "node-1");
    let watching = tokio::spawn(cluster.clone().watch());
    cluster.pod("shop", "web").await.unwrap();
    cluster.namespace("shop").await.unwrap();
    cluster.stored_status().await.unwrap();
    let status = MeshNodeStatus::default();
    cluster.store_status(&status).await.unwrap();
    let access = cluster.may_read_metrics("token").await.unwrap();
    assert_eq!(access, tulle_metrics_server::Access::Allowed);

    let listed: BTreeSet<String> = include_str!("requests.txt")
        .lines()
        .map(str::to_owned)
        .collect();
    let all = async {
        while recorder.asked.lock().unwrap().len() < listed.len() {
            recorder.more.notified().await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    watching.abort();
    assert_eq!(*recorder.asked.lock().unwrap(), listed);
    for line in listed {
        let is_of_pods = line.starts_with("list /pods") || line.starts_with("watch /pods");
        assert!(
            !is_of_pods || line.ends_with(" spec.nodeName=node-1"),
            "{line}"
        );
    }
}
