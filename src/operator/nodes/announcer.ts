import { startupTaint } from '../../api/names.ts';
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, requeueAfter } from '../../kube/controller/reconciler.ts';
import type { EventNote, EventRecorder } from '../../kube/events.ts';
import type { Node } from '../../kube/objects.ts';
import type { NodeState } from './node-state.ts';

/** What a node waits for is told when it has been so for this long, ms: one that just starts up says nothing. */
const SETTLE_MS = 5_000;

interface Waiting {
  uid: string | undefined;
  reason: string;
  since: number;
  told: boolean;
}

/** Tells by Events on a Node why no pods come to it, once for each reason that lasts, and that they do again. */
export class NodeAnnouncer {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #events: Pick<EventRecorder, 'record'>;
  readonly #waiting = new Map<string, Waiting>();

  constructor({ clock, events }: { clock: Pick<Clock, 'monotonic'>; events: Pick<EventRecorder, 'record'> }) {
    this.#clock = clock;
    this.#events = events;
  }

  /** Asks to be called again when a reason has yet to prove that it lasts. */
  async announce(node: Node, state: NodeState): Promise<Outcome> {
    const { name, uid } = node.metadata;
    const before = this.#waiting.get(name);
    if (state.state !== 'Waiting') {
      this.forget(name);
      const note = state.state === 'Served' ? ready : noLongerAwaited;
      if (before?.told === true && before.uid === uid) await this.#events.record(node, note);
      return done;
    }
    const { reason, message } = state;
    const now = this.#clock.monotonic();
    const waiting =
      before?.uid === uid && before?.reason === reason ? before : { uid, reason, since: now, told: false };
    this.#waiting.set(name, waiting);
    if (waiting.told) return done;
    const left = waiting.since + SETTLE_MS - now;
    if (left > 0) return requeueAfter(left);
    waiting.told = true;
    await this.#events.record(node, notReady(reason, message));
    return done;
  }

  forget(node: string): void {
    this.#waiting.delete(node);
  }
}

const ready: EventNote = {
  type: 'Normal',
  reason: 'MeshReady',
  action: 'Untaint',
  note: `The mesh serves here, and the node has lost the taint ${startupTaint.key}.`,
  isNews: true,
};

const noLongerAwaited: EventNote = {
  ...ready,
  reason: 'MeshNotAwaited',
  note:
    `The node has lost the taint ${startupTaint.key}, and pods do not wait for the mesh: spec.node.startupTaint is Off, ` +
    'the node is older than the Mesh or does not run Linux, or the Mesh is being deleted.',
};

function notReady(reason: string, message: string): EventNote {
  const why = `${reason}: ${message.replace(/\.$/, '')}.`;
  const note = `${why} Pods wait (taint ${startupTaint.key}:${startupTaint.effect}) until the mesh serves here.`;
  return { type: 'Warning', reason: 'MeshNotReady', action: 'AwaitMesh', note };
}
