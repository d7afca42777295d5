import { MultiMap } from '../model/multi-map.ts';
import type { Resource, TypeUrl } from './resource.ts';

/** What a batch of changes touched. */
export interface StoreChange {
  /** Of resources that are new, different or gone. */
  readonly names: ReadonlySet<string>;
  /** Everything these resources are, or were, asked for by: name, aliases, and names and aliases of what they belong to. */
  readonly keys: ReadonlySet<string>;
}

/** The resources of one type, as all streams see them. */
export class ResourceStore {
  readonly type: TypeUrl;
  readonly #resources = new Map<string, Resource>();
  readonly #byAlias = new MultiMap<string, string>();
  readonly #members = new MultiMap<string, string>();
  readonly #listeners = new Set<(change: StoreChange) => void>();
  #revision = 0;

  constructor(type: TypeUrl) {
    this.type = type;
  }

  get size(): number {
    return this.#resources.size;
  }

  /** Counts up with each batch of changes. */
  get revision(): number {
    return this.#revision;
  }

  get(name: string): Resource | undefined {
    return this.#resources.get(name);
  }

  names(): Iterable<string> {
    return this.#resources.keys();
  }

  /**
   * What a client gets that asks for `key`: the resources of that name or alias, and of a service also the workloads
   * behind it, for it is of no use without them. Empty when there is nothing.
   */
  resolve(key: string): Resource[] {
    const direct = new Set([key, ...this.#byAlias.get(key)]);
    const names = new Set([...direct, ...[...direct].flatMap((name) => [...this.#members.get(name)])]);
    return [...names].map((name) => this.#resources.get(name)).filter((resource) => resource !== undefined);
  }

  /** Takes new values (undefined: gone), drops those that are no news, and tells the listeners of the rest at once. */
  apply(values: Iterable<readonly [name: string, resource: Resource | undefined]>): StoreChange {
    const names = new Set<string>();
    const keys = new Set<string>();
    for (const [name, next] of values) {
      const previous = this.#resources.get(name);
      if (previous?.version === next?.version) continue;
      names.add(name);
      this.#collectKeys(previous, keys);
      this.#replace(previous, next);
      this.#collectKeys(next, keys);
    }
    const change = { names, keys };
    if (names.size > 0) this.#revision += 1;
    if (names.size > 0) for (const listener of this.#listeners) listener(change);
    return change;
  }

  /** Returns how to stop listening. */
  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #replace(previous: Resource | undefined, next: Resource | undefined): void {
    if (previous !== undefined) {
      this.#resources.delete(previous.name);
      for (const alias of previous.aliases) this.#byAlias.delete(alias, previous.name);
      for (const group of previous.memberOf) this.#members.delete(group, previous.name);
    }
    if (next !== undefined) {
      this.#resources.set(next.name, next);
      for (const alias of next.aliases) this.#byAlias.add(alias, next.name);
      for (const group of next.memberOf) this.#members.add(group, next.name);
    }
  }

  #collectKeys(resource: Resource | undefined, keys: Set<string>): void {
    if (resource === undefined) return;
    keys.add(resource.name);
    for (const alias of resource.aliases) keys.add(alias);
    for (const group of resource.memberOf) {
      keys.add(group);
      for (const alias of this.#resources.get(group)?.aliases ?? []) keys.add(alias);
    }
  }
}
