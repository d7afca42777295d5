use std::net::SocketAddr;

use tulle_agent::netns::Netns;
use tulle_names::PROXY_MARK;

use crate::fixture::forge::{bare_ack, connect_from, connect_marked};
use crate::harness::app::refused;
use crate::harness::network::Ns;
use crate::node::{addresses, on_a_node};

fn netns(ns: &Ns) -> Netns {
    Netns::open(ns.path().as_ref()).unwrap()
}

/// What the other end says first, if anything.
fn greets(mut stream: &std::net::TcpStream) -> bool {
    use std::io::Read;
    stream.read_exact(&mut [0]).is_ok()
}

#[test]
fn r31_a_bare_ack_opens_no_way_in_past_the_proxy() {
    on_a_node(|mut node| async move {
        let pod = node.pod("victim", &[]).await;
        let outsider = node.network.pod("outsider");
        let _application = pod.echo(8080).await;
        node.strict().await;
        for (from, to) in addresses(&outsider).into_iter().zip(addresses(&pod)) {
            assert!(refused(outsider.connect(to, 8080).await).await, "{to}");
            let (from, to) = (SocketAddr::new(from, 40_001), SocketAddr::new(to, 8080));
            bare_ack(&netns(&outsider.ns), from, to).await;
            for attempt in 0..2 {
                let stream = connect_from(&netns(&outsider.ns), from, to).await;
                assert!(
                    !stream.as_ref().is_ok_and(greets),
                    "{to}, attempt {attempt}"
                );
            }
        }
    });
}

#[test]
fn r31_the_mark_of_the_proxy_leads_through_the_proxy() {
    on_a_node(|mut node| async move {
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        let _application = b.echo(8080).await;
        node.strict().await;
        for to in addresses(&b) {
            let to = SocketAddr::new(to, 8080);
            // In plaintext it would be refused.
            let stream = connect_marked(&netns(&a.ns), PROXY_MARK, to).await.unwrap();
            assert!(greets(&stream), "{to}");
        }
    });
}
