//! Who there is: two members that talk to each other, and strangers.
use crate::harness::Mesh;
use crate::harness::app::Echo;
use crate::harness::pod::Pod;
use crate::log::Log;

/// Where the application of `b` listens that sends back what comes.
pub const ECHO: u16 = 8080;
/// Pods outside the mesh, each an address.
const STRANGERS: usize = 8;

pub struct Ground {
    pub mesh: Mesh,
    pub a: Pod,
    pub b: Pod,
    pub strangers: Vec<Pod>,
    /// Of the proxy, with the access log on.
    pub log: Log,
    _echo: Echo,
}

impl Ground {
    pub async fn new() -> Self {
        let (mut mesh, log) = Mesh::unread(&[("TULLE_LOG", "info")]).await;
        let (a, b) = (mesh.pod("a").await, mesh.pod("b").await);
        mesh.conversation.snapshot_sent().unwrap();
        Self {
            strangers: (0..STRANGERS)
                .map(|number| mesh.outsider(&format!("stranger-{number}")))
                .collect(),
            _echo: b.echo(ECHO).await,
            log: Log::read(log),
            mesh,
            a,
            b,
        }
    }
}
