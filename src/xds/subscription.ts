/**
 * What one client is owed of one type, on one stream. Pure: no clock, no network, and no turn: the stream says when (see
 * order.ts), `news` says what.
 *
 * What is owed is a set of names, not of values: whatever a slow client misses meanwhile is sent once, as it is when its
 * turn comes. A refusal is an answer like any other: what the client refused is sent again only when it changes, so that
 * a client that refuses everything is not answered in a loop.
 *
 * A wildcard client is owed names of resources. A client that asks by name is owed answers to keys (names or aliases):
 * each with the resources behind it, or as removed when there are none.
 */
import { TulleError } from '../errors/tulle-error.ts';
import type { Resource } from './resource.ts';
import type { ResourceStore, StoreChange } from './resource-store.ts';
import type { News } from './response.ts';

/** What a request says of one type. */
export interface SubscriptionRequest {
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** Resource name → version a client says it has; taken from the first request only. */
  readonly initialVersions: ReadonlyMap<string, string>;
}

/** A client that asks for more than this should ask for everything. */
export const maxKeys = 50_000;
/** Longer than any name there can be: namespace (63) and host name (253), or cluster, namespace and pod name. */
export const maxKeyLength = 1024;

const everything = '*';

interface Held {
  version: string;
  /** Keys it was sent for. */
  readonly keys: Set<string>;
}

export class Subscription {
  readonly #store: ResourceStore;
  #started = false;
  #wildcard = false;
  /** An answer is due even when there is nothing to say. */
  #owesAnswer = false;

  /** Wildcard: names of resources that changed. */
  readonly #owedNames = new Set<string>();
  /** By name: the keys asked for → names of the resources last sent for them. */
  readonly #keys = new Map<string, ReadonlySet<string>>();
  /** Keys whose answer may have changed. */
  readonly #owedKeys = new Set<string>();
  /** Keys asked for since the last response: answered also when the client has it all. */
  readonly #asked = new Set<string>();
  /** By name: what the client has. */
  readonly #held = new Map<string, Held>();

  constructor(store: ResourceStore) {
    this.#store = store;
  }

  /** Whether the client hears of every resource. */
  get wildcard(): boolean {
    return this.#wildcard;
  }

  /** @throws TulleError XdsSubscriptionTooLarge, XdsRequestInvalid */
  receive(request: SubscriptionRequest): void {
    if (this.#started) this.#change(request);
    else this.#start(request);
  }

  changed(change: StoreChange): void {
    if (this.#wildcard) for (const name of change.names) this.#owedNames.add(name);
    if (this.#keys.size === 0) return;
    for (const key of change.keys) if (this.#keys.has(key)) this.#owedKeys.add(key);
  }

  /** Whether the client waits for something. */
  get owes(): boolean {
    return this.#owesAnswer || this.#owedNames.size + this.#owedKeys.size + this.#asked.size > 0;
  }

  /** What the client does not know, as it is now; counts as told from here on. Undefined when there is nothing to say. */
  news(): News | undefined {
    const resources = new Map<string, Resource>();
    const removed = new Set<string>();
    this.#answerKeys(resources, removed);
    this.#answerNames(resources, removed);
    const mustAnswer = this.#owesAnswer;
    this.#owesAnswer = false;
    if (resources.size === 0 && removed.size === 0 && !mustAnswer) return undefined;
    return { type: this.#store.type, resources: [...resources.values()], removed: [...removed] };
  }

  #start(request: SubscriptionRequest): void {
    const { subscribe, unsubscribe, initialVersions } = request;
    this.#started = true;
    this.#owesAnswer = true;
    this.#wildcard = !unsubscribe.includes(everything) && (subscribe.length === 0 || subscribe.includes(everything));
    if (this.#wildcard) {
      this.#oweDifferences(initialVersions);
    } else {
      // What the client has it wants to keep hearing of; it asks for no new answer.
      for (const [name, version] of initialVersions) {
        this.#addKey(name);
        this.#owedKeys.add(name);
        this.#keys.set(name, new Set([name]));
        this.#held.set(name, { version, keys: new Set([name]) });
      }
    }
    this.#ask(subscribe);
    this.#forget(unsubscribe);
  }

  #change({ subscribe, unsubscribe }: SubscriptionRequest): void {
    if (unsubscribe.includes(everything)) {
      this.#wildcard = false;
      this.#owedNames.clear();
    } else if (subscribe.includes(everything) && !this.#wildcard) {
      this.#wildcard = true;
      this.#oweDifferences(new Map([...this.#held].map(([name, { version }]) => [name, version])));
      this.#owesAnswer = true;
    }
    this.#ask(subscribe);
    this.#forget(unsubscribe);
  }

  #oweDifferences(known: ReadonlyMap<string, string>): void {
    for (const name of this.#store.names()) {
      if (this.#store.get(name)?.version !== known.get(name)) this.#owedNames.add(name);
    }
    for (const name of known.keys()) if (this.#store.get(name) === undefined) this.#owedNames.add(name);
  }

  #ask(keys: readonly string[]): void {
    for (const key of keys) {
      if (key === everything) continue;
      this.#addKey(key);
      this.#asked.add(key);
    }
  }

  #addKey(key: string): void {
    if (key.length > maxKeyLength) throw new TulleError('XdsRequestInvalid', `a name of ${key.length} characters`);
    if (!this.#keys.has(key)) this.#keys.set(key, new Set());
    if (this.#keys.size <= maxKeys) return;
    throw new TulleError('XdsSubscriptionTooLarge', `more than ${maxKeys} names are asked for on one stream`, {
      fix: 'Subscribe to * instead.',
    });
  }

  /** The client drops by itself what it does not want any more: nothing is answered. */
  #forget(keys: readonly string[]): void {
    for (const key of keys) {
      for (const name of this.#keys.get(key) ?? []) this.#release(name, key);
      this.#keys.delete(key);
      this.#owedKeys.delete(key);
      this.#asked.delete(key);
    }
  }

  #answerNames(resources: Map<string, Resource>, removed: Set<string>): void {
    for (const name of this.#owedNames) {
      const resource = this.#store.get(name);
      if (resource === undefined) removed.add(name);
      else resources.set(name, resource);
    }
    this.#owedNames.clear();
  }

  #answerKeys(resources: Map<string, Resource>, removed: Set<string>): void {
    for (const key of new Set([...this.#owedKeys, ...this.#asked])) {
      const found = this.#store.resolve(key);
      const names = new Set(found.map(({ name }) => name));
      for (const name of this.#keys.get(key) ?? []) {
        if (!names.has(name) && this.#release(name, key) && this.#isGone(name)) removed.add(name);
      }
      this.#keys.set(key, names);
      if (found.length === 0) removed.add(key);
      for (const resource of found) {
        const isNews = this.#hold(resource, key);
        if (isNews || this.#asked.has(key)) resources.set(resource.name, resource);
      }
    }
    this.#owedKeys.clear();
    this.#asked.clear();
    // One key let go of it, another took it up.
    for (const name of resources.keys()) removed.delete(name);
  }

  /** A client of everything keeps what exists, whatever it asked for by name. */
  #isGone(name: string): boolean {
    return !this.#wildcard || this.#store.get(name) === undefined;
  }

  /** Whether no key needs it any more. */
  #release(name: string, key: string): boolean {
    const held = this.#held.get(name);
    if (held === undefined) return false;
    held.keys.delete(key);
    return held.keys.size === 0 && this.#held.delete(name);
  }

  /** Whether the client does not have it in this version. */
  #hold(resource: Resource, key: string): boolean {
    const held = this.#held.get(resource.name);
    if (held === undefined) {
      this.#held.set(resource.name, { version: resource.version, keys: new Set([key]) });
      return true;
    }
    held.keys.add(key);
    const isNews = held.version !== resource.version;
    held.version = resource.version;
    return isNews;
  }
}
