//! R06: who may open a tunnel, and to whom one is opened.
use std::sync::Arc;

use http::{Method, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::harness::Mesh;
use crate::harness::app::{greeting, refused};
use crate::harness::authority::{Authority, Credentials, Validity, client, uri};
use crate::harness::foreign::{ask, ask_for, tunnel};
use crate::harness::pod::Pod;

const A: &str = "spiffe://cluster.local/ns/shop/sa/a";

async fn connect(from: &Pod, to: &Pod, config: Arc<ClientConfig>) -> Result<StatusCode, String> {
    ask_for(&tunnel(from, to, config).await?, to, 8080).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_only_a_valid_certificate_of_the_mesh_opens_a_tunnel() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let app = b.echo(8080).await;
    let peer = mesh.outsider("peer");
    let authority = mesh.authority.clone();
    let from = |authority: &Authority, names: &[rcgen::SanType], validity| {
        client(Some(&authority.credentials(names, validity)))
    };

    assert_eq!(
        connect(&peer, &b, from(&authority, &[uri(A)], Validity::Now)).await,
        Ok(StatusCode::OK)
    );
    let reached = app.peers().len();

    let strangers = Authority::new();
    let two = [uri(A), uri("spiffe://cluster.local/ns/shop/sa/c")];
    let dns = [rcgen::SanType::DnsName("a.shop".try_into().unwrap())];
    for (case, config) in [
        ("no certificate", client(None)),
        (
            "another authority",
            from(&strangers, &[uri(A)], Validity::Now),
        ),
        (
            "an ended certificate",
            from(&authority, &[uri(A)], Validity::Over),
        ),
        (
            "a certificate that is not valid yet",
            from(&authority, &[uri(A)], Validity::NotYet),
        ),
        (
            "another trust domain",
            from(
                &authority,
                &[uri("spiffe://elsewhere/ns/shop/sa/a")],
                Validity::Now,
            ),
        ),
        ("two identities", from(&authority, &two, Validity::Now)),
        ("no identity", from(&authority, &dns, Validity::Now)),
        (
            "an identity that is none",
            from(
                &authority,
                &[uri("https://cluster.local/ns/shop/sa/a")],
                Validity::Now,
            ),
        ),
    ] {
        let answer = connect(&peer, &b, config).await;
        assert!(answer.is_err(), "{case}: {answer:?}");
    }
    assert_eq!(
        app.peers().len(),
        reached,
        "nobody else reached the application"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_session_is_never_resumed() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let _app = b.echo(8080).await;
    let peer = mesh.outsider("peer");
    let credentials: Credentials = mesh.authority.credentials(&[uri(A)], Validity::Now);
    // This client would resume if it were let.
    let config = client(Some(&credentials));
    for _ in 0..2 {
        let tcp = peer.connect(b.ip, 15008).await.unwrap();
        let name = ServerName::IpAddress(std::net::IpAddr::from(b.ip).into());
        let tls = TlsConnector::from(config.clone())
            .connect(name, tcp)
            .await
            .unwrap();
        assert_eq!(
            tls.get_ref().1.handshake_kind(),
            Some(rustls::HandshakeKind::Full)
        );
        let (send, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(ask_for(&send, &b, 8080).await, Ok(StatusCode::OK));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_the_wire_has_it() {
    let mut mesh = Mesh::start().await;
    let (b, c) = (mesh.pod("b").await, mesh.pod("c").await);
    let _app = b.echo(8080).await;
    let other = c.echo(8080).await;
    let peer = mesh.outsider("peer");
    let config = client(Some(&mesh.authority.credentials(&[uri(A)], Validity::Now)));
    let send = tunnel(&peer, &b, config).await.unwrap();
    for (method, target, expected) in [
        (Method::CONNECT, format!("{}:8080", b.ip), 200),
        (Method::GET, format!("{}:8080", b.ip), 400),
        (Method::CONNECT, format!("{}:8080", c.ip), 400),
        (Method::CONNECT, "127.0.0.1:8080".into(), 400),
        (Method::CONNECT, "b.shop:8080".into(), 400),
        (Method::CONNECT, format!("{}:15008", b.ip), 400),
        (Method::CONNECT, format!("{}:15001", b.ip), 400),
        (Method::CONNECT, format!("{}:9", b.ip), 503),
    ] {
        let answer = ask(&send, method.clone(), &target).await;
        assert_eq!(answer.unwrap().as_u16(), expected, "{method} {target}");
    }
    assert!(other.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_somebody_else_gets_no_byte() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let app = b.echo(8080).await;
    // The control plane says another identity lives at that address.
    mesh.control
        .announce(&b, |workload| workload.service_account = "c".into());
    mesh.told(|dump| dump["workloads"].to_string().contains("sa/c"))
        .await;
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert!(app.peers().is_empty(), "the application was reached");
    let error = mesh.access_log(1).await[0]["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        error.contains("sa/b, not spiffe://cluster.local/ns/shop/sa/c"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_tunnel_is_not_shared_with_another_identity_at_its_address() {
    let mut mesh = Mesh::start().await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let app = b.echo(8080).await;
    let mut stream = a.connect(b.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut stream).await.unwrap(), "b");
    // The address is another's now; the tunnel to the one before is still open.
    mesh.control
        .announce(&b, |workload| workload.service_account = "c".into());
    mesh.told(|dump| dump["workloads"].to_string().contains("sa/c"))
        .await;
    assert!(refused(a.connect(b.ip, 8080).await).await);
    assert_eq!(app.peers().len(), 1, "nobody else was let through to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_serves_all_pods_of_an_identity() {
    let mut mesh = Mesh::start().await;
    let a = mesh.pod("a").await;
    mesh.conversation.add(&a).unwrap();
    let mut twin = mesh.network.pod("twin");
    twin.account = "a".into();
    mesh.conversation.add(&twin).unwrap();
    assert_eq!(mesh.control.signed(), [a.identity()]);
    assert_eq!(mesh.control.tokens(), ["Bearer a-projected-token"]);
    assert!(
        !mesh.proxy.log().contains("a-projected-token"),
        "a token was logged"
    );
}
