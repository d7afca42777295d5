use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;
use tulle_zds::SeqPacket;

use super::connection::serve_proxy;
use super::proxies::Proxies;

/// Listens at `path` (mode 0600) and serves every proxy that connects. An
/// error only when it cannot listen.
pub async fn serve(path: &Path, proxies: Arc<Proxies>) -> io::Result<()> {
    let listener = SeqPacket::listen(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    loop {
        match listener.accept().await {
            Ok(socket) => {
                let proxies = Arc::clone(&proxies);
                tokio::spawn(async move { serve_proxy(socket, &proxies).await });
            }
            Err(cause) => {
                // Out of descriptors, most likely: others may be closed meanwhile.
                error!(err = %cause, "cannot accept a proxy's connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
