//! The steps of the state machine (`machine.rs`), each with its effect.
use std::time::Duration;

use tokio::time::Instant;
use tulle_zds::Refusal;

use super::connections::proxy_sockets;
use super::existing::Seen;
use super::failure::Failure;
use super::machine::{Rules, Step, Wanted};
use super::worker::{Desired, Own, Taken, Worker, Written, backoff};
use crate::netns::{FindError, Netns};
use crate::report::{PodCondition, PodState};
use crate::rules::{Phase, PodRules};
use crate::sockets::ConnectionTracker;
use crate::zds::Serving;

/// How long a change of MeshNode may take before a step counts as failed.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How far another node's proxy may be behind this node's with what control says: tunnels to a
/// leaving pod are taken for as long once this node's has heard.
const PEERS_LAG: Duration = Duration::from_secs(1);
/// Between two looks at a draining pod.
const DRAIN_LOOK: Duration = Duration::from_millis(250);
/// Over the proxy's own drain time, for its last words.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);
/// How long a proxy may take to find a new agent.
const RECONNECT: Duration = Duration::from_secs(10);
/// How long a proxy may take to answer before the pod that waits for it is reported.
const PROXY_BUSY: Duration = Duration::from_secs(15);

impl Worker {
    pub(super) async fn take(&mut self, step: Step, desired: &Desired) -> Result<Taken, Failure> {
        match step {
            Step::Find => self.find(desired).await,
            Step::Hand => self.hand(desired).await,
            Step::Exempt => Ok(self.exempt()),
            Step::Write => self.write(desired).await,
            Step::Announce => Ok(self.announce(desired)),
            Step::Look => self.look(desired).await,
            Step::Withdraw => self.withdraw(desired).await,
            Step::Settle => self.settle(desired),
            Step::Drain => self.drain(desired).await,
            Step::LetGo => self.let_go(desired).await,
            Step::Sweep => self.sweep().await,
            Step::Forget => {
                self.own = Own::absent();
                self.tell_progress();
                Ok(Taken::On)
            }
            Step::Done => Ok(Taken::On),
        }
    }

    async fn find(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let namespace = match &desired.namespace {
            Some(brought) => brought.clone(),
            None => match self.node.finder.find(&self.uid, &desired.pod.ips).await {
                // With its last process the namespace has gone, and what rules there were.
                Err(FindError::NoProcess) if desired.wanted == Wanted::Out => {
                    self.own.rules = Rules::None;
                    return Ok(Taken::On);
                }
                found => found?,
            },
        };
        self.own.wanted_since = Instant::now();
        self.own.namespace = Some(namespace);
        self.tell_progress();
        Ok(Taken::On)
    }

    async fn hand(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let namespace = self.namespace()?.clone();
        if !self.own.handed {
            if !namespace.is_of_own_users().map_err(FindError::Io)? {
                return Err(Failure::UserNamespace);
            }
            self.hold_ports(&namespace).await?;
            self.hand_over(desired, namespace);
            self.own.handed = true;
            return Ok(Taken::On);
        }
        let serving = self.node.proxies.serving(&self.uid);
        if serving != Serving::Waiting {
            self.own.waiting_since = None;
        }
        match serving {
            Serving::Served => Ok(Taken::On),
            Serving::Waiting => self.wait_for_proxy(),
            Serving::NoProxy if self.own.rules == Rules::None => Err(Failure::NoProxy),
            // After a start of the agent proxies need a moment to connect again.
            Serving::NoProxy
                if self.own.rules == Rules::Unknown
                    && self.own.wanted_since.elapsed() < RECONNECT =>
            {
                Ok(Taken::Pause(RECONNECT))
            }
            Serving::NoProxy => Err(Failure::ProxyDown),
            Serving::Refused(refusal) => self.hand_again(desired, namespace, refusal).await,
        }
    }

    /// A proxy answers within ten seconds, and wakes this step. One that does not is named.
    fn wait_for_proxy(&mut self) -> Result<Taken, Failure> {
        let since = *self.own.waiting_since.get_or_insert_with(Instant::now);
        let left = PROXY_BUSY.saturating_sub(since.elapsed());
        if left.is_zero() {
            Err(Failure::ProxyBusy)
        } else {
            Ok(Taken::Pause(left))
        }
    }

    /// Sees to it that the mesh's ports in the pod are the mesh's: held here, or left to a proxy
    /// that listens itself (docs/adr/0007). Answers whether they have just been taken or left:
    /// then the pod is to be handed over as it is now.
    pub(super) async fn hold_ports(&mut self, namespace: &Netns) -> Result<bool, Failure> {
        let leave = self.node.proxies.takes_listeners() == Some(false);
        if leave && self.own.listeners.take().is_some() {
            return Ok(true);
        }
        if !leave && self.own.listeners.is_none() {
            self.own.listeners = Some(self.node.ports.take(namespace).await?);
            return Ok(true);
        }
        let own = self.own.listeners.as_ref();
        match self.node.ports.foreign(namespace, own).await? {
            Some(port) => Err(Failure::PortInUse(port)),
            None => Ok(false),
        }
    }

    /// A refused pod is handed over again, less and less often.
    async fn hand_again(
        &mut self,
        desired: &Desired,
        namespace: Netns,
        refusal: Refusal,
    ) -> Result<Taken, Failure> {
        let now = Instant::now();
        match self.own.retry_at {
            Some(at) if at <= now => {
                self.own.retry_at = None;
                self.hold_ports(&namespace).await?;
                self.hand_over(desired, namespace);
                self.wait_for_proxy()
            }
            Some(at) => Ok(Taken::Pause(at - now)),
            None => {
                self.plan_retry(now);
                Err(Failure::from(refusal))
            }
        }
    }

    /// When a refused pod is handed over again: less and less often.
    pub(super) fn plan_retry(&mut self, now: Instant) {
        self.own.refusals = self.own.refusals.saturating_add(1);
        self.own.retry_at = Some(now + backoff(self.own.refusals));
    }

    fn hand_over(&self, desired: &Desired, namespace: Netns) {
        self.node
            .hand_over(&desired.pod, namespace, self.own.listeners.clone());
        // What it failed for is told until it is captured.
        if !self.own.announced && !self.is_reported(PodState::Failed) {
            self.report(
                desired,
                PodCondition::pending("HandedOver", "waiting for tulle-proxy to take the pod over"),
            );
        }
    }

    async fn write(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let namespace = self.namespace()?.clone();
        self.node.addresses.add(&self.uid, &desired.pod.ips).await?;
        let ipv6 = desired.pod.ips.iter().any(|ip| ip.is_ipv6());
        self.node
            .rule_installer
            .write_pod_rules(&namespace, self.pod_rules(desired, Phase::Capture), ipv6)
            .await?;
        let now = Instant::now();
        self.own.rules = Rules::Capture;
        self.own.written = Some(Written::from(&desired.pod));
        self.own.captured_at = now;
        self.own.next_look = now;
        self.own.tracker = ConnectionTracker::default();
        self.own.seen = Seen::default();
        self.own.refusals = 0;
        self.tell_progress();
        Ok(Taken::On)
    }

    fn announce(&mut self, desired: &Desired) -> Taken {
        // From here on MeshNode may say so, whether or not the write is known to have come through.
        self.own.announced = true;
        self.own.settled = false;
        self.node.observations.forget(&self.uid);
        self.report(
            desired,
            PodCondition::pending("Captured", "looking for existing connections"),
        );
        self.tell_progress();
        self.node.metrics.enrolled(self.own.wanted_since.elapsed());
        Taken::On
    }

    async fn withdraw(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        if desired.wanted == Wanted::Ended {
            self.node.store.remove_pod(&self.uid);
            self.own.announced = false;
            return Ok(Taken::On);
        }
        let condition = PodCondition::pending("Leaving", "the pod leaves the mesh");
        let report = crate::report::PodReport::new(&desired.pod, false, condition);
        let revision = self.node.store.set_pod(&self.uid, report);
        match self.node.store.written(revision, WRITE_LIMIT).await {
            Ok(_) => {
                self.own.announced = false;
                self.own.exempt = false;
                self.own.exempt_since = None;
                self.own.withdrawn_at = Instant::now();
                // What was seen before does not tell whether the withdrawal has been heard.
                self.node.observations.forget(&self.uid);
                Ok(Taken::On)
            }
            Err(_) => Err(Failure::NotReported(
                "the API server has not stored it in time",
            )),
        }
    }

    async fn drain(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let namespace = self.namespace()?.clone();
        let ipv6 = desired.pod.ips.iter().any(|ip| ip.is_ipv6());
        self.node
            .rule_installer
            .write_pod_rules(&namespace, self.pod_rules(desired, Phase::Drain), ipv6)
            .await?;
        self.own.rules = Rules::Drain;
        self.own.lag_until = Instant::now() + PEERS_LAG;
        self.own.drain_until = Instant::now() + self.node.mesh().drain + DRAIN_MARGIN;
        self.node.addresses.remove(&self.uid).await?;
        let seconds = self.node.mesh().drain.as_secs();
        let message =
            format!("new connections pass by the proxy; those it has may take {seconds} s to end");
        self.report(desired, PodCondition::pending("Leaving", message));
        self.tell_progress();
        Ok(Taken::On)
    }

    async fn let_go(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        let now = Instant::now();
        if desired.wanted == Wanted::Out && now < self.own.lag_until {
            return Ok(Taken::Pause(self.own.lag_until - now));
        }
        self.node.proxies.remove(&self.uid);
        self.own.listeners = None;
        self.own.handed = false;
        self.own.retry_at = None;
        if desired.wanted != Wanted::Out {
            self.node.addresses.remove(&self.uid).await?;
        }
        Ok(Taken::On)
    }

    async fn sweep(&mut self) -> Result<Taken, Failure> {
        let namespace = self.namespace()?.clone();
        let is_over = Instant::now() >= self.own.drain_until;
        let left = proxy_sockets(&namespace, self.node.owner.mark)
            .await
            .map_err(Failure::Sockets)?;
        if (left > 0 || self.node.proxies.is_held(&self.uid)) && !is_over {
            return Ok(Taken::Pause(DRAIN_LOOK));
        }
        self.node
            .rule_installer
            .remove_pod_rules(&namespace)
            .await?;
        self.own = Own::absent();
        Ok(Taken::On)
    }

    fn pod_rules(&self, desired: &Desired, phase: Phase) -> PodRules {
        PodRules {
            phase,
            owner: self.node.owner,
            probe_ports: desired.pod.probe_ports.clone(),
        }
    }

    pub(super) fn namespace(&self) -> Result<&Netns, Failure> {
        // The machine asks for these steps only where it is found.
        self.own
            .namespace
            .as_ref()
            .ok_or(Failure::Netns(FindError::NoNamespace))
    }
}
