import { type ResourceEvent, ResourceEventType, ResourceMetaImpl } from '@dot-i/k8s-operator';
import type { KubeObject } from '../objects.ts';
import { done, type Reconcile } from './reconciler.ts';
import { mutable } from './resource-path.ts';

/**
 * What the library's callbacks do about an event; `signal` aborts when this replica must stop writing. One that throws gets its
 * event again, with backoff, or after the time that a `Requeue` says.
 */
export type OnEvent = (event: ResourceEvent, signal: AbortSignal) => Promise<void>;

/**
 * Gives a callback that takes events what a pass over a key has found: how the object is now, whatever happened between two
 * passes. `Added` comes once, `Deleted` with the object as it was seen last, also where another of the same name has taken its
 * place, and `Modified` as often as anything asks for a look at the object, be it changed or not.
 */
export class ObjectEvents {
  readonly #store: { get(key: string): KubeObject | undefined };
  readonly #plural: string;
  readonly #onEvent: OnEvent;
  /** What the callback has seen. */
  readonly #seen = new Map<string, KubeObject>();

  constructor(store: { get(key: string): KubeObject | undefined }, plural: string, onEvent: OnEvent) {
    this.#store = store;
    this.#plural = plural;
    this.#onEvent = onEvent;
  }

  readonly reconcile: Reconcile = async (key, signal) => {
    const seen = this.#seen.get(key);
    const object = this.#store.get(key);
    const isGone = seen !== undefined && seen.metadata.uid !== object?.metadata.uid;
    if (isGone) {
      await this.#onEvent(this.#event(ResourceEventType.Deleted, seen), signal);
      this.#seen.delete(key);
    }
    if (object === undefined) return done;
    const type = this.#seen.has(key) ? ResourceEventType.Modified : ResourceEventType.Added;
    await this.#onEvent(this.#event(type, object), signal);
    this.#seen.set(key, object);
    return done;
  };

  #event(type: ResourceEventType, seen: KubeObject): ResourceEvent {
    const object = mutable(seen);
    return { meta: ResourceMetaImpl.createWithPlural(this.#plural, object), object: { ...seen, ...object }, type };
  }
}
