//! Who reads the proxy's metrics.
use tulle_names::PLAINTEXT_METRICS_PORT as PLAIN;

use crate::harness::Mesh;
use crate::harness::http::get_port;

#[tokio::test(flavor = "multi_thread")]
async fn r20_metrics_are_served_without_tls_only_where_the_mesh_says_so() {
    let closed = Mesh::start().await;
    assert_eq!(get_port(&closed.network.host, 15021, "/").unwrap().0, 404);
    let refused = get_port(&closed.network.host, PLAIN, "/metrics").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let open = Mesh::with(&[("TULLE_PLAINTEXT_METRICS_PORT", "15014")]).await;
    let (status, text) = get_port(&open.network.host, PLAIN, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE "), "{text}");
    for elsewhere in ["/config_dump", "/status", "/healthz/ready", "/"] {
        let (status, _) = get_port(&open.network.host, PLAIN, elsewhere).unwrap();
        assert_eq!(status, 404, "{elsewhere}");
    }
}
