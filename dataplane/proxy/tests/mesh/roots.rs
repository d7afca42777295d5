//! R34: a tunnel lives on while the roots change that vouch for its peer, and ends with the last of
//! them; and with the peer's certificate.
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tulle_proxy::identity::ca_client::{Issuer, Issuing};
use tulle_proxy::identity::certificate::CertificateRequest;
use tulle_proxy::identity::manager::CertificateManager;
use tulle_proxy::inpod::netns::NetNs;
use tulle_proxy::spiffe::SpiffeId;
use tulle_proxy::telemetry::metrics::Metrics;
use tulle_proxy::tunnel::hbone::Hbone;
use tulle_proxy::tunnel::{Connect, DialError, Peer, Pool, Trace, TunnelError};

use crate::harness::app::{exchange, greeting, limited, refused};
use crate::harness::authority::{Authority, Validity, client, uri};
use crate::harness::foreign::{Server, ask_for, open, request, tunnel};
use crate::harness::hammer::Hammer;
use crate::harness::network::Network;
use crate::harness::{Mesh, eventually};

const PEER: &str = "spiffe://cluster.local/ns/shop/sa/peer";

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_tunnel_dies_with_the_root_that_vouches_for_its_peer_and_no_sooner() {
    let mut mesh = Mesh::with(&[("TULLE_DRAIN_SECONDS", "2")]).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let (peer, far) = (mesh.outsider("peer"), mesh.outsider("far"));
    let _app = b.echo(8080).await;
    let old = mesh.authority.clone();

    // Two peers whose certificates are of the old root, and stay so: one in, one out.
    let shown = old.credentials(&[uri(PEER)], Validity::Now);
    let inbound = tunnel(&peer, &b, client(Some(&shown))).await.unwrap();
    let target = format!("{}:8080", b.ip);
    let (status, _sink, mut body) = open(&inbound, request(Method::CONNECT, &target))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body.data().await.unwrap().unwrap(), "b\n");
    let server = Server::start(
        &far,
        &old.credentials(&[uri(&far.identity())], Validity::Now),
    );
    mesh.control.announce(&far, |_| {});
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/far"))
        .await;
    let mut outbound = a.connect(far.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut outbound).await.unwrap(), "far");

    let hammer = Hammer::start(&a, b.ip, 8080, 2);
    let (new, third) = (Arc::new(Authority::new()), Authority::new());
    mesh.trust(&[&old, &new]).await;
    assert_eq!(ask_for(&inbound, &b, 8080).await, Ok(StatusCode::OK));
    let mut another = a.connect(far.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut another).await.unwrap(), "far");
    assert_eq!(server.tunnels(), 1, "the tunnel from before serves on");

    // A third root has all certificates renewed, now signed by the new one.
    old.hand_over(&new);
    mesh.trust(&[&old, &new, &third]).await;
    assert_eq!(ask_for(&inbound, &b, 8080).await, Ok(StatusCode::OK));
    mesh.trust(&[&new, &third]).await;

    assert!(
        ask_for(&inbound, &b, 8080).await.is_err(),
        "no new stream in"
    );
    assert!(
        refused(a.connect(far.ip, 8080).await).await,
        "no new stream out"
    );
    let cut = async { while let Some(Ok(_)) = body.data().await {} };
    limited(cut).await.expect("what was open is cut in");
    assert!(refused(Ok(outbound)).await, "and out");
    assert!(refused(Ok(another)).await);
    assert_eq!(server.tunnels(), 1);

    let before = hammer.served();
    eventually("visits after", || {
        (hammer.served() > before + 100).then_some(())
    })
    .await;
    assert_eq!(hammer.stop(), Vec::<String>::new(), "nobody else noticed");
}

struct SilentIssuer;

impl Issuer for SilentIssuer {
    fn issue<'a>(&'a self, _: &'a SpiffeId, _: &'a str) -> Issuing<'a> {
        Box::pin(std::future::pending())
    }
}

/// The moment between a certificate with other roots and the tunnel's own notice of it: here the
/// tunnel is never told of one.
#[tokio::test]
async fn r34_no_stream_is_opened_in_a_tunnel_whose_peer_the_callers_roots_do_not_vouch_for() {
    let network = Network::new();
    let (a, far) = (network.pod("a"), network.pod("far"));
    let (old, new) = (Authority::new(), Authority::new());
    let server = Server::start(
        &far,
        &old.credentials(&[uri(&far.identity())], Validity::Now),
    );
    let identity: SpiffeId = a.identity().parse().unwrap();
    let signed_by = |authority: &Authority| {
        let request = CertificateRequest::new(&identity).unwrap();
        let answer = authority.sign(request.csr(), identity.as_str());
        Arc::new(request.complete(&answer).unwrap())
    };
    let metrics = Arc::new(Metrics::new());
    let manager = CertificateManager::new(Arc::new(SilentIssuer), metrics.clone());
    let netns = Arc::new(NetNs::new(a.ns.0.try_clone().unwrap(), None).unwrap());
    let pool = Pool::new(Hbone {
        netns,
        identity: manager.acquire(&identity),
        metrics,
        drain: Duration::ZERO,
    });
    let peer = Peer {
        identity: far.identity().parse().unwrap(),
        address: (far.ip, 15008).into(),
    };
    let connection = Connect {
        target: (far.ip, 8080).into(),
        workload: None,
        source_ip: a.ip.into(),
        trace: &Trace::new(),
    };

    let before = signed_by(&old);
    let _held = pool.connect(&before, &peer, &connection).await.unwrap();
    old.also_trust(&new);
    pool.connect(&signed_by(&old), &peer, &connection)
        .await
        .expect("another root beside it changes nothing");
    assert_eq!(server.tunnels(), 1);

    let refused = pool.connect(&signed_by(&new), &peer, &connection).await;
    assert!(matches!(refused, Err(TunnelError::Dial(err)) if matches!(*err, DialError::Tls(..))));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_tunnel_takes_no_stream_past_its_peers_certificate() {
    let mut mesh = Mesh::with(&[("TULLE_DRAIN_SECONDS", "1")]).await;
    let (old, second) = (mesh.authority.clone(), Authority::new());
    mesh.trust(&[&old, &second]).await;
    let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
    let (peer, far) = (mesh.outsider("peer"), mesh.outsider("far"));
    let _app = b.echo(8080).await;
    let brief = |name: &str| {
        let life = Validity::For(Duration::from_secs(3));
        old.credentials(&[uri(name)], life)
    };
    let _server = Server::start(&far, &brief(&far.identity()));
    mesh.control.announce(&far, |_| {});
    mesh.told(|dump| dump["workloads"].to_string().contains("shop/far"))
        .await;
    let mut outbound = a.connect(far.ip, 8080).await.unwrap();
    assert_eq!(greeting(&mut outbound).await.unwrap(), "far");
    let inbound = tunnel(&peer, &b, client(Some(&brief(PEER)))).await.unwrap();
    let target = format!("{}:8080", b.ip);
    let (_, mut sink, mut body) = open(&inbound, request(Method::CONNECT, &target))
        .await
        .unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "b\n");
    let lasting = second.credentials(&[uri(PEER)], Validity::Now);
    let retired = tunnel(&peer, &b, client(Some(&lasting))).await.unwrap();
    let (_, _sink, mut cut) = open(&retired, request(Method::CONNECT, &target))
        .await
        .unwrap();

    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    // Asked for a port that nobody listens on: answers without data, of which there may be many.
    let end = loop {
        assert!(tokio::time::Instant::now() < deadline, "streams go on in");
        if let Err(err) = ask_for(&inbound, &b, 9).await {
            break err;
        }
    };
    let in_order = ["not a result of an error", "refused stream"];
    assert!(in_order.iter().any(|text| end.contains(text)), "{end}");
    while !refused(a.connect(far.ip, 8080).await).await {
        assert!(tokio::time::Instant::now() < deadline, "streams go on out");
    }

    // A root goes, by which the other tunnel ends, and another comes.
    mesh.trust(&[&old, &Authority::new()]).await;
    limited(async { while let Some(Ok(_)) = cut.data().await {} })
        .await
        .expect("what a retired root vouches for is cut");
    assert_eq!(
        exchange(&mut outbound, b"on").await.unwrap(),
        b"on",
        "what is open goes on out"
    );
    sink.send_data("on".into(), false).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "on", "and in");
}
