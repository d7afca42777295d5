import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, requeueAfter } from '../../kube/controller/reconciler.ts';
import type { EventNote, EventRecorder } from '../../kube/events.ts';
import type { Namespace } from '../../kube/objects.ts';
import { some } from '../mesh/rollout.ts';
import type { Counts, EnrolmentIndex, PodProblem } from './pod-index.ts';

/** A state must hold so long before it is announced, ms: nodes report one after another. */
const SETTLE_MS = 3_000;

type State = 'none' | 'pending' | 'secured' | 'failed';

interface Seen {
  state: State;
  since: number;
  announced: State | undefined;
  /** Since when the namespace is no longer enrolled, ms; undefined while it is. */
  leavingSince?: number | undefined;
}

/**
 * Tells a namespace's users, by Events, when its pods have all been secured, when some could not be, and when they have
 * left: once for each change that lasts, not for each pod.
 */
export class EnrolmentAnnouncer {
  readonly #clock: Clock;
  readonly #events: Pick<EventRecorder, 'record'>;
  readonly #index: EnrolmentIndex;
  readonly #seen = new Map<string, Seen>();

  constructor(context: { clock: Clock; events: Pick<EventRecorder, 'record'>; caches: { enrolment: EnrolmentIndex } }) {
    this.#clock = context.clock;
    this.#events = context.events;
    this.#index = context.caches.enrolment;
  }

  /** Asks to be called again when a state has yet to prove that it lasts. */
  async announce(namespace: Namespace): Promise<Outcome> {
    const { name } = namespace.metadata;
    const counts = this.#index.counts(name);
    const state = stateOf(counts);
    const now = this.#clock.monotonic();
    const before = this.#seen.get(name);
    const seen = before?.state === state ? before : { state, since: now, announced: before?.announced };
    seen.leavingSince = undefined;
    this.#seen.set(name, seen);
    const note = seen.announced === state ? undefined : noteOf(state, counts, this.#index.problems(name));
    if (note === undefined) return done;
    const left = seen.since + SETTLE_MS - now;
    if (left > 0) return requeueAfter(left);
    seen.announced = state;
    await this.#events.record(namespace, note);
    return done;
  }

  /**
   * The same for a namespace that is not enrolled: says so once its pods have left, if it ever was. When the Mesh is deleted, all
   * of them leave.
   */
  async announceLeft(namespace: Namespace, isMeshDeleted = false): Promise<Outcome> {
    const { name } = namespace.metadata;
    const seen = this.#seen.get(name);
    if (seen?.announced === undefined) {
      this.forget(name);
      return done;
    }
    const now = this.#clock.monotonic();
    seen.leavingSince ??= now;
    const left = seen.leavingSince + SETTLE_MS - now;
    if (left > 0) return requeueAfter(left);
    const counts = this.#index.counts(name);
    // A pod that leaves is Pending; one that is Secured stays by a label of its own.
    if (counts.pending > 0 || (isMeshDeleted && counts.secured > 0)) return requeueAfter(SETTLE_MS);
    this.forget(name);
    const stay = counts.secured > 0 ? `, but for ${counts.secured} with a label of their own` : '';
    const note = `The pods have left the mesh${stay}: their connections are plaintext.`;
    await this.#events.record(namespace, { type: 'Normal', reason: 'PodsLeft', action: 'Leave', note, isNews: true });
    return done;
  }

  forget(namespace: string): void {
    this.#seen.delete(namespace);
  }
}

function stateOf({ secured, pending, failed }: Counts): State {
  if (failed > 0) return 'failed';
  if (pending > 0) return 'pending';
  return secured > 0 ? 'secured' : 'none';
}

function noteOf(state: State, counts: Counts, problems: readonly PodProblem[]): EventNote | undefined {
  const all = counts.secured + counts.pending + counts.failed;
  if (state === 'secured') {
    const secured = all === 1 ? 'Its one pod is secured' : `All ${all} pods are secured`;
    const note = `${secured}${counts.optedOut > 0 ? `, but for ${counts.optedOut} that opted out` : ''}.`;
    return { type: 'Normal', reason: 'PodsSecured', action: 'Enrol', note, isNews: true };
  }
  if (state === 'failed') {
    const pods = problems.map(({ name, reason }) => `${name} (${reason || 'no reason given'})`);
    const note = `${counts.failed} of ${all} pods are outside the mesh: ${some(pods, 5)}. See the MeshNodes of their nodes.`;
    return { type: 'Warning', reason: 'PodsNotSecured', action: 'Enrol', note, isNews: true };
  }
  return undefined;
}
