import { labels, modes } from '../../api/names.ts';
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, requeueAfter } from '../../kube/controller/reconciler.ts';
import type { EventNote, EventRecorder } from '../../kube/events.ts';
import type { Namespace } from '../../kube/objects.ts';
import { some } from '../mesh/rollout.ts';
import type { EnrolmentIndex } from './pod-index.ts';

/** A number must hold so long before it is told, ms: a pod that is replaced counts twice for a moment. */
const SETTLE_MS = 3_000;

interface Seen {
  optedOut: number;
  since: number;
  /** The number of which the namespace knows. */
  told: number;
}

/** Tells a namespace, by an Event, that pods of it have opted out: whenever there are more of them than it knows of. */
export class OptOutAnnouncer {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #events: Pick<EventRecorder, 'record'>;
  readonly #index: EnrolmentIndex;
  readonly #seen = new Map<string, Seen>();

  constructor(context: {
    clock: Pick<Clock, 'monotonic'>;
    events: Pick<EventRecorder, 'record'>;
    caches: { enrolment: EnrolmentIndex };
  }) {
    this.#clock = context.clock;
    this.#events = context.events;
    this.#index = context.caches.enrolment;
  }

  /** Asks to be called again when a number has yet to prove that it lasts. */
  async announce(namespace: Namespace): Promise<Outcome> {
    const { name } = namespace.metadata;
    const { optedOut } = this.#index.counts(name);
    const now = this.#clock.monotonic();
    const before = this.#seen.get(name);
    const seen = before?.optedOut === optedOut ? before : { optedOut, since: now, told: before?.told ?? 0 };
    this.#seen.set(name, seen);
    if (seen.told === optedOut) return done;
    const left = seen.since + SETTLE_MS - now;
    if (left > 0) return requeueAfter(left);
    const more = optedOut > seen.told;
    seen.told = optedOut;
    if (more) await this.#events.record(namespace, noteOf(this.#index.optedOut(name).map((pod) => pod.name)));
    return done;
  }

  forget(namespace: string): void {
    this.#seen.delete(namespace);
  }
}

function noteOf(pods: readonly string[]): EventNote {
  const who = pods.length === 1 ? '1 pod has' : `${pods.length} pods have`;
  const note =
    `${who} opted out by the label ${labels.mode}=${modes.none} and ${pods.length === 1 ? 'is' : 'are'} ` +
    `left in plaintext: ${some(pods, 5)}. Remove the label to bring them in; spec.enrolment.podOptOut: Denied refuses it.`;
  return { type: 'Warning', reason: 'PodsOptedOut', action: 'Enrol', note, isNews: true };
}
