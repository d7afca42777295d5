use crate::harness::eventually;
use crate::harness::hammer::Hammer;
use crate::node::on_a_node;

#[test]
fn r25_a_proxy_is_replaced_under_traffic_without_a_failed_connection() {
    on_a_node(|mut node| async move {
        let (a, b) = (node.pod("a", &[]).await, node.pod("b", &[]).await);
        let _application = b.echo(8080).await;
        let hammer = Hammer::start(&a, b.ip, 8080, 4);
        eventually("visits", || (hammer.served() > 50).then_some(())).await;
        let second = node.another_proxy("proxy-2");
        eventually("the second is ready", || second.ready().then_some(())).await;
        node.proxy.terminate();
        eventually("the first has ended", || node.proxy.ended()).await;
        let before = hammer.served();
        eventually("visits by the second", || {
            (hammer.served() > before + 50).then_some(())
        })
        .await;
        assert_eq!(hammer.stop(), Vec::<String>::new());
    });
}
