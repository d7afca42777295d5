//! The step Look: what is still missing before a captured pod is secured.
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::connections::look;
use super::existing::{carried, condition, order};
use super::failure::Failure;
use super::worker::{Desired, Taken, Worker};
use crate::report::PodState;
use crate::sockets::Policy;

/// Between two tries to end such connections.
const WATCHING: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn look(&mut self, desired: &Desired) -> Result<Taken, Failure> {
        self.ask_again(desired)?;
        let policy = self.node.mesh().existing_connections;
        let observation = self.node.observations.of(&self.uid);
        self.end_carried(desired, policy, carried(observation))
            .await;
        let is_due = Instant::now() >= self.own.next_look;
        if is_due {
            self.look_inside(desired, policy).await?;
        }
        if is_due || observation != self.own.seen.observation {
            self.own.seen.observation = observation;
            if let Some(condition) =
                condition(&self.own.seen, policy, self.is_reported(PodState::Secured))
            {
                self.report(desired, condition);
            }
        }
        let next_look = self.own.next_look;
        let next = self.own.retry_at.map_or(next_look, |at| at.min(next_look));
        let pause = next.saturating_duration_since(Instant::now());
        Ok(Taken::Pause(if carried(observation) > 0 {
            pause.min(WATCHING)
        } else {
            pause
        }))
    }

    /// A proxy that has refused the pod while another serves it is asked again, less and less often:
    /// it may be the one that is to take over.
    fn ask_again(&mut self, desired: &Desired) -> Result<(), Failure> {
        let now = Instant::now();
        match self.own.retry_at {
            _ if !self.node.proxies.is_refused(&self.uid) => {
                self.own.retry_at = None;
            }
            None => self.plan_retry(now),
            Some(at) if at <= now => {
                self.own.retry_at = None;
                let namespace = self.namespace()?.clone();
                self.node
                    .hand_over(&desired.pod, namespace, self.own.listeners.clone());
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// One look at the pod's own sockets.
    async fn look_inside(&mut self, desired: &Desired, policy: Policy) -> Result<(), Failure> {
        let namespace = self.namespace()?.clone();
        if self.hold_ports(&namespace).await? {
            // What proxies that come later get; the one that serves the pod listens already.
            self.node
                .hand_over(&desired.pod, namespace.clone(), self.own.listeners.clone());
        }
        let tracker = std::mem::take(&mut self.own.tracker);
        let since_capture = self.own.captured_at.elapsed();
        let (tracker, findings) = look(
            &namespace,
            tracker,
            since_capture,
            policy,
            self.node.owner.mark,
        )
        .await
        .map_err(Failure::Sockets)?;
        self.own.tracker = tracker;
        self.own.next_look = Instant::now() + findings.next_look;
        self.own.seen.existing = findings.existing;
        self.own.seen.sure = findings.sure;
        self.count_ended(desired, findings.end.len());
        Ok(())
    }

    /// Ends what the proxies carry when its time has come. The grace begins anew with each time
    /// there is any: a peer may join long after the pod.
    async fn end_carried(&mut self, desired: &Desired, policy: Policy, count: usize) {
        if count == 0 {
            self.own.seen.carried_since = None;
            return;
        }
        let since = *self.own.seen.carried_since.get_or_insert_with(Instant::now);
        if let Some(quiet) = order(since.elapsed(), policy) {
            let ended = self.node.observations.end(&self.uid, quiet).await;
            self.count_ended(desired, ended);
        }
    }

    fn count_ended(&self, desired: &Desired, count: usize) {
        if count > 0 {
            info!(workload = %desired.pod.name, namespace = %desired.pod.namespace, count, "ended existing connections");
            self.node.metrics.ended(count);
        }
    }
}
