use tulle_wire::ADDRESS_TYPE;

use crate::harness::app::{greeting, refused};
use crate::node::on_a_node;

#[test]
fn r26_an_address_that_changes_hands_leads_to_nobody_until_the_control_plane_has_said_so() {
    on_a_node(|mut node| async move {
        let client = node.pod("client", &[]).await;
        let before = node.network.pod("before");
        let _application = before.echo(8080).await;
        let uid = node.captured(&before, &[]).await;
        node.announce(&before);
        node.until(&uid, "Secured").await;
        let mut stream = client.connect(before.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "before");

        node.end_last_pod(&uid);
        let after = node.network.pod_in_place_of(&before, "after");
        let _another = after.echo(8080).await;
        let uid = node.captured(&after, &[]).await;
        // Everybody still believes that the address is the first pod's.
        for _ in 0..5 {
            assert!(refused(client.connect(after.ip, 8080).await).await);
        }
        node.control
            .tell(ADDRESS_TYPE, &before.workload_uid(), None);
        node.announce(&after);
        node.until(&uid, "Secured").await;
        let mut stream = client.connect(after.ip, 8080).await.unwrap();
        assert_eq!(greeting(&mut stream).await.unwrap(), "after");
    });
}
