import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { addressType } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { Subscription, type SubscriptionRequest } from '../../../src/xds/subscription.ts';
import { ProxyCache, resource, seen } from './proxy.ts';

const names = fc.constantFrom('a', 'b', 'c', 's');
const keys = fc.constantFrom('a', 'b', 'c', 's', '/1', '/2', 'nobody');

type Step =
  | { readonly do: 'set'; readonly name: string; readonly alias: string; readonly member: boolean }
  | { readonly do: 'remove'; readonly name: string }
  | { readonly do: 'subscribe' | 'unsubscribe'; readonly key: string }
  | { readonly do: 'answer' | 'reconnect' };

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('set'),
      name: names,
      alias: fc.constantFrom('/1', '/2', '/3'),
      member: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove'), name: names }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('subscribe', 'unsubscribe'), key: keys }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('answer') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reconnect') }) },
);

/** A client and a server that do what the steps say; one connection after another. */
class Conversation {
  readonly store = new ResourceStore(addressType);
  readonly cache = new ProxyCache();
  readonly wanted = new Set<string>();
  readonly #wildcard: boolean;
  #subscription: Subscription;
  #stop: () => void = () => {};
  #versions = 0;

  constructor(wildcard: boolean) {
    this.#wildcard = wildcard;
    this.#subscription = this.#connect();
  }

  take(step: Step): void {
    switch (step.do) {
      case 'set': {
        const memberOf = step.member && step.name !== 's' ? ['s'] : [];
        const value = resource(step.name, String(++this.#versions), { aliases: [step.alias], memberOf });
        this.store.apply([[step.name, value]]);
        return;
      }
      case 'remove':
        this.store.apply([[step.name, undefined]]);
        return;
      case 'subscribe':
        this.wanted.add(step.key);
        this.#send({ subscribe: [step.key] });
        return;
      case 'unsubscribe':
        this.wanted.delete(step.key);
        this.#send({ unsubscribe: [step.key] });
        return;
      case 'answer':
        this.#answer();
        return;
      case 'reconnect':
        this.#stop();
        this.#subscription = this.#connect();
    }
  }

  /** Until there is nothing more to say. */
  settle(): void {
    while (this.#answer());
  }

  #connect(): Subscription {
    const subscription = new Subscription(this.store);
    this.#stop = this.store.onChange((change) => subscription.changed(change));
    const subscribe = this.#wildcard ? ['*', ...this.wanted] : [...this.wanted];
    const unsubscribe = this.#wildcard ? [] : ['*'];
    subscription.receive({ subscribe, unsubscribe, initialVersions: this.cache.versions });
    return subscription;
  }

  #send(request: Partial<SubscriptionRequest>): void {
    this.#subscription.receive({ subscribe: [], unsubscribe: [], initialVersions: new Map(), ...request });
  }

  #answer(): boolean {
    const news = this.#subscription.news();
    if (news === undefined) return false;
    this.cache.take(seen(news));
    return true;
  }
}

describe('a subscription', () => {
  it('leaves a client of everything with exactly what there is, whatever happened on the way', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: 'max' }), (history) => {
        const conversation = new Conversation(true);
        for (const step of history) conversation.take(step);
        conversation.settle();
        const { store, cache } = conversation;
        const expected = [...store.names()].map((name) => `${name} ${store.get(name)?.version}`);
        const known = [...cache.versions].map(([name, version]) => `${name} ${version}`);
        deepStrictEqual(known.sort(), expected.sort());
      }),
      { numRuns: 3_000 },
    );
  });

  it('leaves a client that asks by name with all it asked for, as it is, and with nothing that is gone', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: 'max' }), (history) => {
        const conversation = new Conversation(false);
        for (const step of history) conversation.take(step);
        conversation.settle();
        const { store, cache, wanted } = conversation;
        for (const key of wanted) {
          for (const { name, version } of store.resolve(key))
            deepStrictEqual([name, cache.versions.get(name)], [name, version]);
        }
        const useful = new Set([...wanted].flatMap((key) => store.resolve(key).map(({ name }) => name)));
        if (history.some((step) => step.do === 'unsubscribe')) return; // such a client drops by itself what it gave up
        for (const name of cache.versions.keys()) {
          deepStrictEqual(useful.has(name) || store.get(name) !== undefined, true, `${name} is gone`);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});
