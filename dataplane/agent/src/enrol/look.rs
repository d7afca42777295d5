//! The step Look: what is still missing before a captured pod is secured.
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::connections::look;
use super::failure::Failure;
use super::older::{carried, order, standing};
use super::worker::{Taken, Wish, Worker};
use crate::report::PodState;
use crate::sockets::Policy;

/// Between two tries to end such connections.
const WATCHING: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn look(&mut self, wish: &Wish) -> Result<Taken, Failure> {
        self.ask_again(wish)?;
        let policy = self.node.mesh().existing_connections;
        let sighting = self.node.sightings.of(&self.uid);
        self.end_carried(wish, policy, carried(sighting)).await;
        let is_due = Instant::now() >= self.own.next_look;
        if is_due {
            self.look_inside(wish, policy).await?;
        }
        if is_due || sighting != self.own.seen.sighting {
            self.own.seen.sighting = sighting;
            if let Some(standing) =
                standing(&self.own.seen, policy, self.is_reported(PodState::Secured))
            {
                self.report(wish, standing);
            }
        }
        let next_look = self.own.next_look;
        let next = self.own.retry_at.map_or(next_look, |at| at.min(next_look));
        let pause = next.saturating_duration_since(Instant::now());
        Ok(Taken::Pause(if carried(sighting) > 0 {
            pause.min(WATCHING)
        } else {
            pause
        }))
    }

    /// A proxy that has refused the pod while another serves it is asked again, less and less often:
    /// it may be the one that is to take over.
    fn ask_again(&mut self, wish: &Wish) -> Result<(), Failure> {
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
                    .hand_over(&wish.pod, namespace, self.own.listeners.clone());
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// One look at the pod's own sockets.
    async fn look_inside(&mut self, wish: &Wish, policy: Policy) -> Result<(), Failure> {
        let namespace = self.namespace()?.clone();
        if self.hold_ports(&namespace).await? {
            // What proxies that come later get; the one that serves the pod listens already.
            self.node
                .hand_over(&wish.pod, namespace.clone(), self.own.listeners.clone());
        }
        let ledger = std::mem::take(&mut self.own.ledger);
        let since_capture = self.own.captured_at.elapsed();
        let (ledger, verdict) = look(
            &namespace,
            ledger,
            since_capture,
            policy,
            self.node.owner.mark,
        )
        .await
        .map_err(Failure::Sockets)?;
        self.own.ledger = ledger;
        self.own.next_look = Instant::now() + verdict.next_look;
        self.own.seen.older = verdict.older;
        self.own.seen.sure = verdict.sure;
        self.count_ended(wish, verdict.end.len());
        Ok(())
    }

    /// Ends what the proxies carry when its time has come. The grace begins anew with each time
    /// there is any: a peer may join long after the pod.
    async fn end_carried(&mut self, wish: &Wish, policy: Policy, count: usize) {
        if count == 0 {
            self.own.seen.carried_since = None;
            return;
        }
        let since = *self.own.seen.carried_since.get_or_insert_with(Instant::now);
        if let Some(quiet) = order(since.elapsed(), policy) {
            let ended = self.node.sightings.end(&self.uid, quiet).await;
            self.count_ended(wish, ended);
        }
    }

    fn count_ended(&self, wish: &Wish, count: usize) {
        if count > 0 {
            info!(workload = %wish.pod.name, namespace = %wish.pod.namespace, count, "ended connections from before enrolment");
            self.node.metrics.ended(count);
        }
    }
}
