use super::*;
use prost::Message;
use prost_types::Any;
use tulle_wire::discovery::Resource;
use tulle_wire::workload::{Address, Workload, address};

use crate::tls::bundle::TrustBundle;
use crate::tls::control::channel;

/// A client that has not connected to anything.
fn client() -> XdsClient {
    let config = Config::read(|name| match name {
        "TULLE_NODE_NAME" => Some("node-1".to_owned()),
        "TULLE_POD_NAME" => Some("proxy-1".to_owned()),
        _ => None,
    })
    .unwrap();
    let bundle = Arc::new(TrustBundle::new(&config.trust_bundle));
    XdsClient::new(
        channel(&config.control, bundle),
        &config,
        Arc::default(),
        Arc::new(Metrics::new()),
    )
}

/// A workload as the control plane tells of it.
fn told(uid: &str, tunnel_protocol: i32) -> DeltaDiscoveryResponse {
    let workload = Workload {
        uid: uid.into(),
        namespace: "shop".into(),
        tunnel_protocol,
        ..Default::default()
    };
    let address = Address {
        r#type: Some(address::Type::Workload(workload)),
    };
    DeltaDiscoveryResponse {
        type_url: Kind::Address.type_url().into(),
        resources: vec![Resource {
            name: uid.into(),
            version: "7".into(),
            resource: Some(Any {
                type_url: Kind::Address.type_url().into(),
                value: address.encode_to_vec(),
            }),
            aliases: vec![],
        }],
        ..Default::default()
    }
}

fn removed(uid: &str) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: Kind::Address.type_url().into(),
        removed_resources: vec![uid.into()],
        ..Default::default()
    }
}

/// What a reconnect would claim to hold.
fn held(client: &XdsClient) -> Vec<(String, String)> {
    let subscription = client.subscription(Kind::Address);
    subscription.initial_resource_versions.into_iter().collect()
}

fn claim(name: &str, version: &str) -> (String, String) {
    (name.to_owned(), version.to_owned())
}

#[tokio::test]
async fn r33_what_was_removed_is_not_claimed_as_held() {
    let mut client = client();
    assert!(client.take(told("a", 1)).unwrap().error_detail.is_none());
    assert_eq!(held(&client), [claim("a", "7")]);
    // Else, back as it was during an outage, it would never be learned of.
    client.take(removed("a"));
    assert_eq!(held(&client), []);
    assert!(client.state.read().workload("a").is_none());
}

#[tokio::test]
async fn r33_what_could_not_be_read_is_claimed_in_no_version() {
    let mut client = client();
    client.take(told("a", 1));
    let reply = client.take(told("a", 9)).unwrap();
    assert!(
        reply
            .error_detail
            .unwrap()
            .message
            .starts_with("a: tunnel_protocol is 9")
    );
    // In its old version it would not be sent again by a control plane that was put back; not
    // claimed at all, its removal would not be told.
    assert_eq!(held(&client), [claim("a", "")]);
    assert!(client.state.read().unreadable("a").is_some());
    client.take(removed("a"));
    assert_eq!(held(&client), []);
    assert!(client.state.read().unreadable("a").is_none());
}
