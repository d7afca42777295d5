//! Taking over what an agent before this one enrolled.
use std::sync::Arc;

use tracing::{info, warn};

use super::decision::Decision;
use super::enroller::{Enroller, wanted};
use super::machine::Wanted;
use super::worker::{Adopted, Wish};
use crate::cluster::{PodView, View};
use crate::netns::Netns;

impl Enroller {
    /// Takes over the pods an agent before this one enrolled: found again by
    /// their rules, handed to the proxies again, never let go of in between.
    /// To be called once, with a synced view, before proxies can connect: what
    /// a proxy is not told of at first, it drops.
    pub async fn adopt(self: &Arc<Self>) -> std::io::Result<()> {
        let view = self.node.view.borrow().clone();
        let processes = self.node.finder.processes()?;
        let mut adopted = 0usize;
        for pod in view
            .pods
            .values()
            .filter(|pod| !pod.host_network && !pod.has_ended)
        {
            let Some(pids) = processes.get(&pod.uid) else {
                continue;
            };
            let Ok(namespace) = self.node.finder.namespace(&pod.uid, pids, &pod.ips).await else {
                continue;
            };
            match self.node.ruler.has_pod_rules(&namespace).await {
                Ok(true) => {
                    self.adopt_pod(&view, pod, namespace).await;
                    adopted += 1;
                }
                Ok(false) => {}
                Err(error) => {
                    warn!(workload = %pod.name, namespace = %pod.namespace, err = %error, "cannot look for rules in a pod")
                }
            }
        }
        {
            let pods = self.lock();
            self.node
                .board
                .retain_pods(|uid| pods.entries.contains_key(uid));
        }
        info!(adopted, "took over the pods enrolled before");
        Ok(())
    }

    async fn adopt_pod(self: &Arc<Self>, view: &View, pod: &PodView, namespace: Netns) {
        let announced = self
            .node
            .board
            .pod(&pod.uid)
            .is_some_and(|before| before.captured);
        let wanted = match wanted(view, pod) {
            Some(Decision::Enrol) | None => Wanted::In,
            _ => Wanted::Out,
        };
        if let Err(error) = self.node.addresses.add(&pod.uid, &pod.ips).await {
            warn!(workload = %pod.name, namespace = %pod.namespace, err = %error, "cannot write the node's table");
        }
        let listeners = match self.node.ports.take(&namespace).await {
            Ok(listeners) => Some(listeners),
            Err(error) => {
                warn!(workload = %pod.name, namespace = %pod.namespace, err = %error, "cannot take over the mesh's ports in a pod");
                None
            }
        };
        self.node
            .hand_over(pod, namespace.clone(), listeners.clone());
        let wish = Wish {
            wanted,
            pod: pod.clone(),
            namespace: None,
        };
        let mut pods = self.lock();
        let entry = self.spawn(
            wish,
            Some(Adopted {
                namespace,
                listeners,
                announced,
            }),
            None,
        );
        pods.entries.insert(pod.uid.clone(), entry);
    }
}
