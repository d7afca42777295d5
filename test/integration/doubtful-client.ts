import { KubeConfig } from '@kubernetes/client-node';
import { meshesPath, meshNodesPath } from '../../src/api/names.ts';
import { ApiError, KubeClient, type Query, type WatchEvent } from '../../src/kube/client/client.ts';
import type { KubeList, KubeObject } from '../../src/kube/objects.ts';

/** What an API server that comes back may say before it says what is so. */
export const doubts = ['empty lists', 'lists from before', 'events from before'] as const;
export type Doubt = (typeof doubts)[number];

/** What was read of one collection, as JSON, and what is to become of its next answers. */
interface Collection {
  firstList: string | undefined;
  /** Of objects that are there; a replay that ends before their end is the one that counts. */
  readonly events: string[];
  /** Lists and watches that failed since the last doubt. */
  failures: number;
  doubt: Doubt | undefined;
}

/**
 * A client of a real API server that remembers what it read of the collections a mesh is made of, and after an outage is
 * told that once more, or nothing, before it is told what is so.
 */
export class DoubtfulClient extends KubeClient {
  readonly #collections = new Map<string, Collection>(
    [
      '/api/v1/pods',
      '/api/v1/services',
      '/api/v1/nodes',
      '/apis/discovery.k8s.io/v1/endpointslices',
      meshesPath,
      meshNodesPath,
    ].map((path) => [path, { firstList: undefined, events: [], failures: 0, doubt: undefined }]),
  );

  static of(kubeconfig: string): DoubtfulClient {
    const config = new KubeConfig();
    config.loadFromFile(kubeconfig);
    return new DoubtfulClient(config);
  }

  /** How often each collection could not be read, at least. */
  get failures(): number {
    return Math.min(...this.#collections.values().map(({ failures }) => failures));
  }

  /** Collections that have not been answered doubtfully yet. */
  get toDoubt(): number {
    return this.#collections
      .values()
      .filter(({ doubt }) => doubt !== undefined)
      .toArray().length;
  }

  doubt(doubt: Doubt): void {
    for (const collection of this.#collections.values()) {
      collection.doubt = doubt;
      collection.failures = 0;
    }
  }

  override async list<T extends KubeObject>(path: string, query?: Query): Promise<KubeList<T>> {
    const collection = this.#collections.get(path);
    if (collection === undefined) return super.list<T>(path, query);
    const list = await counted(collection, () => super.list<T>(path, query));
    collection.firstList ??= JSON.stringify(list);
    const { doubt, firstList } = collection;
    if (doubt === undefined) return list;
    collection.doubt = undefined;
    return doubt === 'empty lists' ? { ...list, items: [] } : JSON.parse(firstList);
  }

  override async *watch<T extends KubeObject>(
    path: string,
    query: Query,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const collection = this.#collections.get(path);
    if (collection === undefined) return yield* super.watch<T>(path, query, signal);
    if (collection.doubt === 'events from before') {
      await counted(collection, () => super.list<T>(path, { limit: 1 })); // the server is back
      collection.doubt = undefined;
      for (const before of collection.events) yield JSON.parse(before);
    } else if (collection.doubt !== undefined) {
      throw new ApiError({ status: 410, reason: 'Expired', message: 'only a new list helps', path });
    }
    const events = super.watch<T>(path, query, signal);
    for (;;) {
      const next = await counted(collection, () => events.next());
      if (next.done === true) return;
      const { type } = next.value;
      if (type === 'ADDED' || type === 'MODIFIED') collection.events.push(JSON.stringify(next.value));
      yield next.value;
    }
  }
}

async function counted<R>(collection: Collection, read: () => Promise<R>): Promise<R> {
  try {
    return await read();
  } catch (error) {
    collection.failures++;
    throw error;
  }
}
