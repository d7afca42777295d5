//! Being on the node: the CNI plugin, the file of enrolled namespaces and the
//! node's table are there while there is a Mesh, and gone after it.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};
use tulle_cni_protocol::{ENROLLED_FILE, EnrolledNamespaces};

use crate::cluster::View;
use crate::cni::Installer;
use crate::enrol::{Enroller, Node};
use crate::report::CniStatus;

/// How often the node's CNI configuration is compared with what it should be.
const EVERY: Duration = Duration::from_secs(2);

pub struct NodeSetup {
    pub node: Arc<Node>,
    pub enroller: Arc<Enroller>,
    pub installer: Installer,
    pub run_dir: PathBuf,
    /// Everything of ours is off the node.
    pub released: watch::Sender<bool>,
}

impl NodeSetup {
    /// Follows the Mesh for ever.
    pub async fn follow(self) {
        let mut view = self.node.view.clone();
        let mut enrolled: Option<EnrolledNamespaces> = None;
        loop {
            let now = view.borrow_and_update().clone();
            if now.is_synced() && now.mesh.is_some() {
                self.set_released(
                    false,
                    "InUse",
                    "The node is in the mesh. It is released when the Mesh is deleted.",
                );
                self.install().await;
                self.write_enrolled(&now, &mut enrolled);
            } else if now.is_mesh_gone() && !*self.released.borrow() {
                enrolled = None;
                self.leave(&mut view).await;
            }
            self.report_ready();
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn install(&self) {
        let installer = self.installer.clone();
        let status = tokio::task::spawn_blocking(move || installer.install()).await;
        let status = status.unwrap_or_else(|error| CniStatus {
            message: error.to_string(),
            ..CniStatus::default()
        });
        self.node.store.set_cni(status);
    }

    fn write_enrolled(&self, view: &View, written: &mut Option<EnrolledNamespaces>) {
        let wanted = EnrolledNamespaces {
            namespaces: Enroller::enrolled_namespaces(view),
        };
        if written.as_ref() == Some(&wanted) {
            return;
        }
        match wanted.write(&self.run_dir.join(ENROLLED_FILE)) {
            Ok(()) => *written = Some(wanted),
            Err(error) => warn!(err = %error, "cannot write the file of enrolled namespaces"),
        }
    }

    /// Takes everything off the node, in order: the plugin, so that no new pod
    /// comes; the pods; the node's table. Breaks off when a Mesh is there again.
    async fn leave(&self, view: &mut watch::Receiver<View>) {
        info!("the Mesh is gone: leaving the node");
        self.set_released(
            false,
            "Leaving",
            "the Mesh is gone; pods leave it one by one",
        );
        let installer = self.installer.clone();
        let uninstalled = tokio::task::spawn_blocking(move || installer.uninstall()).await;
        if let Ok(Err(error)) = &uninstalled {
            error!(err = %error, "cannot remove the CNI plugin");
            self.node.store.set_cni(CniStatus {
                message: error.to_string(),
                ..CniStatus::default()
            });
            return;
        }
        self.node.store.set_cni(CniStatus {
            message: "the Mesh is gone".to_owned(),
            ..CniStatus::default()
        });
        tokio::select! {
            () = self.enroller.all_left() => {}
            _ = view.wait_for(|view| view.mesh.is_some()) => return,
        }
        if let Err(error) = self.node.addresses.clear().await {
            error!(err = %error, "cannot remove the node's table");
            return;
        }
        match std::fs::remove_file(self.run_dir.join(ENROLLED_FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return error!(err = %error, "cannot remove the file of enrolled namespaces");
            }
            _ => {}
        }
        self.set_released(true, "Released", "everything of Tulle's is off this node");
        info!("everything of ours is off the node");
    }

    fn set_released(&self, released: bool, reason: &str, message: &str) {
        self.released.send_replace(released);
        self.node
            .store
            .set_condition("Released", released, reason, message);
    }

    fn report_ready(&self) {
        let (_, status) = self.node.store.status();
        let installed = status.cni.as_ref().is_some_and(|cni| cni.installed);
        let message = status.cni.map(|cni| cni.message).unwrap_or_default();
        let (ready, reason, message) = if *self.released.borrow() {
            (false, "MeshGone", "there is no Mesh".to_owned())
        } else if !installed {
            (false, "CniNotInstalled", message)
        } else if self.node.proxies.connected() == 0 {
            (
                false,
                "NoProxy",
                "no tulle-proxy is connected on this node".to_owned(),
            )
        } else {
            (
                true,
                "Ready",
                "pods of this node can be enrolled".to_owned(),
            )
        };
        self.node
            .store
            .set_condition("Ready", ready, reason, &message);
    }
}
