import { type ResourceEvent, ResourceEventType, ResourceMetaImpl } from '@dot-i/k8s-operator';
import type { ReflectorEvent } from '../cache/reflector.ts';
import { type KubeObject, objectKey } from '../objects.ts';
import { done, type Reconcile, type Source } from './reconciler.ts';
import { mutable } from './resource-path.ts';

/** What the bridge needs of a Reflector<KubeObject>. */
interface Followed {
  readonly path: string;
  readonly hasSynced: boolean;
  onEvent(handler: (event: ReflectorEvent<KubeObject>) => void): void;
}

/**
 * Gives a callback that thinks in events what it expects, from a queue that thinks in keys: the events of a key wait
 * in order, those that are overtaken by a later `modified` are left out, and one whose callback throws stays at the
 * head.
 */
export class EventBridge {
  readonly source: Source;
  readonly #plural: string;
  readonly #onEvent: (event: ResourceEvent) => Promise<void>;
  readonly #waiting = new Map<string, ReflectorEvent<KubeObject>[]>();

  constructor(reflector: Followed, plural: string, onEvent: (event: ResourceEvent) => Promise<void>) {
    this.#plural = plural;
    this.#onEvent = onEvent;
    this.source = {
      reflector,
      connect: (add) =>
        reflector.onEvent((event) => {
          this.#keep(event);
          add(objectKey(event.object));
        }),
      seed: () => [...this.#waiting.keys()],
    };
  }

  readonly reconcile: Reconcile = async (key, signal) => {
    for (;;) {
      const event = this.#waiting.get(key)?.[0];
      if (event === undefined || signal.aborted) return done;
      await this.#onEvent(this.#translate(event));
      const left = (this.#waiting.get(key) ?? []).filter((other) => other !== event);
      if (left.length === 0) this.#waiting.delete(key);
      else this.#waiting.set(key, left);
    }
  };

  #keep(event: ReflectorEvent<KubeObject>): void {
    const key = objectKey(event.object);
    const events = this.#waiting.get(key) ?? [];
    const last = events.at(-1);
    const overtaken = event.type === 'modified' && last?.type === 'modified';
    this.#waiting.set(key, [...(overtaken ? events.slice(0, -1) : events), event]);
  }

  #translate(event: ReflectorEvent<KubeObject>): ResourceEvent {
    const object = mutable(event.object);
    const full = { ...event.object, ...object };
    return { meta: ResourceMetaImpl.createWithPlural(this.#plural, object), object: full, type: TYPES[event.type] };
  }
}

const TYPES = {
  added: ResourceEventType.Added,
  modified: ResourceEventType.Modified,
  deleted: ResourceEventType.Deleted,
} as const;
