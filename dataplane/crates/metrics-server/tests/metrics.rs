//! Metrics as a scraper and a stranger get them: over TLS, from a proxy that asks its agent.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tulle_metrics_server::{
    Access, AskAgent, Authorize, MetricsServer, SOCKET_NAME, serve_proxies,
};

/// An API server that lets one token read, and knows another.
struct ApiServer;

impl Authorize for ApiServer {
    async fn authorize(&self, token: &str, from: IpAddr) -> Access {
        assert!(from.is_loopback());
        match token {
            "scraper" => Access::Allowed,
            "other" => Access::Forbidden,
            "late" => Access::Unknown,
            _ => Access::Unauthenticated,
        }
    }
}

/// A scraper verifies no certificate that nobody has signed.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

struct Port(u16);

impl Port {
    /// A proxy's, whose agent serves in `run_dir`.
    async fn open(run_dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = MetricsServer::new("tulle-proxy", AskAgent::new(run_dir)).unwrap();
        tokio::spawn(server.serve(listener, || Ok("# EOF\n".to_owned())));
        Self(port)
    }

    /// The answer to a request: its status line and headers, and its body.
    async fn ask(&self, request: &str) -> (String, String) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified))
            .with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", self.0)).await.unwrap();
        let name = ServerName::try_from("tulle-proxy").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, tcp).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Ours is no client that minds how the other side ends TLS.
        let _ended = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn status(&self, token: &str) -> String {
        let (head, _) = self.ask(&get("/metrics", &[token])).await;
        head.split(' ').nth(1).unwrap().to_owned()
    }
}

fn get(path: &str, tokens: &[&str]) -> String {
    let headers: String = tokens
        .iter()
        .map(|token| format!("authorization: Bearer {token}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\nhost: proxy\r\n{headers}\r\n")
}

/// Answers once the agent's socket is there.
async fn agent(run_dir: &Path) {
    let of_agent = run_dir.to_owned();
    tokio::spawn(async move { serve_proxies(&of_agent, Arc::new(ApiServer)).await });
    while !run_dir.join(SOCKET_NAME).exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn r20_metrics_are_for_whom_the_api_server_lets_read_them() {
    let run_dir = tempfile::tempdir().unwrap();
    agent(run_dir.path()).await;
    let port = Port::open(run_dir.path()).await;
    let (head, body) = port.ask(&get("/metrics", &["scraper"])).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert_eq!(body, "# EOF\n");
    assert_eq!(port.status("nobody").await, "401");
    assert_eq!(port.status("other").await, "403");
    assert_eq!(port.status("late").await, "503");
    let (_, why) = port.ask(&get("/metrics", &["other"])).await;
    assert!(why.contains("tulle-metrics-reader"), "{why}");
}

#[tokio::test]
async fn r20_a_token_is_needed_and_nothing_else_is_served() {
    let run_dir = tempfile::tempdir().unwrap();
    agent(run_dir.path()).await;
    let port = Port::open(run_dir.path()).await;
    for tokens in [&[][..], &["scraper", "scraper"], &["scraper other"]] {
        let (head, body) = port.ask(&get("/metrics", tokens)).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{tokens:?}: {head}");
        assert!(body.contains("Authorization: Bearer"), "{body}");
    }
    for path in ["/", "/config_dump", "/status", "/metrics/"] {
        let (head, _) = port.ask(&get(path, &["scraper"])).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
    let post = get("/metrics", &["scraper"]).replace("GET", "POST");
    assert!(port.ask(&post).await.0.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn r20_without_an_agent_metrics_are_for_nobody() {
    let run_dir = tempfile::tempdir().unwrap();
    let port = Port::open(run_dir.path()).await;
    assert_eq!(port.status("scraper").await, "503");
    // One that comes later is asked.
    agent(run_dir.path()).await;
    let mut status = port.status("scraper").await;
    while status != "200" {
        status = port.status("scraper").await;
    }
}
