//! R06: who may open a tunnel, and to whom one is opened.
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, Version};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::Mesh;
use crate::harness::app::{limited, refused};
use crate::harness::authority::{Authority, Credentials, Validity, client, uri};
use crate::harness::pod::Pod;

const A: &str = "spiffe://cluster.local/ns/shop/sa/a";

/// A peer written by somebody else: opens a tunnel from a pod outside the mesh.
async fn tunnel(
    from: &Pod,
    to: &Pod,
    config: Arc<ClientConfig>,
) -> Result<SendRequest<Bytes>, String> {
    let tcp: TcpStream = from
        .connect(to.ip, 15008)
        .await
        .map_err(|err| err.to_string())?;
    let name = ServerName::IpAddress(std::net::IpAddr::from(to.ip).into());
    let tls = limited(TlsConnector::from(config).connect(name, tcp))
        .await
        .unwrap()
        .map_err(|err| err.to_string())?;
    let (mut send, connection) = h2::client::handshake(tls)
        .await
        .map_err(|err| err.to_string())?;
    tokio::spawn(connection);
    // A TLS 1.3 client learns only with the first bytes back whether it was accepted.
    send = limited(send.ready())
        .await
        .unwrap()
        .map_err(|err| err.to_string())?;
    Ok(send)
}

async fn ask(send: SendRequest<Bytes>, method: Method, target: &str) -> Result<StatusCode, String> {
    let uri = if method == Method::CONNECT {
        target.to_owned()
    } else {
        format!("https://{target}/")
    };
    let request = Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(uri)
        .body(())
        .unwrap();
    let mut send = send.ready().await.map_err(|err| err.to_string())?;
    let (answer, _sink) = send
        .send_request(request, false)
        .map_err(|err| err.to_string())?;
    limited(answer)
        .await
        .unwrap()
        .map(|answer| answer.status())
        .map_err(|err| err.to_string())
}

async fn connect(from: &Pod, to: &Pod, config: Arc<ClientConfig>) -> Result<StatusCode, String> {
    let target = SocketAddr::new(to.ip.into(), 8080).to_string();
    ask(tunnel(from, to, config).await?, Method::CONNECT, &target).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_only_a_valid_certificate_of_the_mesh_opens_a_tunnel() {
    let mut mesh = Mesh::start().await;
    let b = mesh.pod("b").await;
    let app = b.echo(8080).await;
    let peer = mesh.outsider("peer");
    let authority = mesh.authority.clone();
    let from = |authority: &Authority, names: &[rcgen::SanType], validity| {
        client(
            &mesh.authority,
            Some(&authority.credentials(names, validity)),
        )
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
        ("no certificate", client(&authority, None)),
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
    let config = client(&mesh.authority, Some(&credentials));
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
        let target = SocketAddr::new(b.ip.into(), 8080).to_string();
        assert_eq!(
            ask(send, Method::CONNECT, &target).await,
            Ok(StatusCode::OK)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_the_wire_has_it() {
    let mut mesh = Mesh::start().await;
    let (b, c) = (mesh.pod("b").await, mesh.pod("c").await);
    let _app = b.echo(8080).await;
    let other = c.echo(8080).await;
    let peer = mesh.outsider("peer");
    let config = client(
        &mesh.authority,
        Some(&mesh.authority.credentials(&[uri(A)], Validity::Now)),
    );
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
        let answer = ask(send.clone(), method.clone(), &target).await;
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
