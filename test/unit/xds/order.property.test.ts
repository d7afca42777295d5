import { deepStrictEqual, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { pino } from 'pino';
import { addressType, authorizationType, type TypeUrl } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { SendBudget } from '../../../src/xds/send-budget.ts';
import { DiscoveryStream } from '../../../src/xds/stream.ts';
import { MemoryTransport } from './memory-transport.ts';
import { type Answer, type Request, requestOf, resource } from './proxy.ts';

const log = pino({ level: 'silent' });
const policyNames = ['p', 'q', 'r'] as const;
const addressNames = ['a', 'b'] as const;

/** What is to hold next: which policies there are, which of them are rewritten, and which policies each address names. */
interface Publication {
  readonly do: 'publish';
  readonly policies: readonly string[];
  readonly rewritten: readonly string[];
  readonly names: Readonly<Record<string, readonly string[]>>;
}

type Step =
  | Publication
  | { readonly do: 'subscribe'; readonly type: TypeUrl; readonly key: string }
  | { readonly do: 'flush' | 'acknowledge' | 'refuse' | 'reconnect' };

const somePolicies = fc.subarray([...policyNames]);
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('publish'),
      policies: somePolicies,
      rewritten: somePolicies,
      names: fc.dictionary(fc.constantFrom(...addressNames), somePolicies, { noNullPrototype: true }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('subscribe'),
      type: fc.constantFrom(addressType, authorizationType),
      key: fc.constantFrom('*', ...addressNames, 'p'),
    }),
  },
  { weight: 12, arbitrary: fc.record({ do: fc.constantFrom('flush', 'acknowledge') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('refuse', 'reconnect') }) },
);

/** Policy → the version of it that an address needs, out of the address's version: `7 p@3 q@5`. */
function needsOf(version: string): readonly (readonly [policy: string, version: number])[] {
  return version
    .split(' ')
    .slice(1)
    .map((need) => {
      const [policy = '', at = ''] = need.split('@');
      return [policy, Number(at)];
    });
}

/** Stores that change in the publisher's order, and one client that checks each message as it comes. */
class World {
  readonly stores = {
    [addressType]: new ResourceStore(addressType),
    [authorizationType]: new ResourceStore(authorizationType),
  };
  /** What the client holds, by type: name → version. */
  readonly held = { [addressType]: new Map<string, string>(), [authorizationType]: new Map<string, string>() };
  /** Policies of messages that the client has answered. */
  #answered = new Map<string, string>();
  #version = 0;
  #transport = new MemoryTransport();
  #stream: DiscoveryStream | undefined;
  #taken = 0;

  constructor() {
    this.#connect();
  }

  take(step: Step): void {
    switch (step.do) {
      case 'publish':
        this.#publish(step);
        break;
      case 'subscribe':
        this.#send({ typeUrl: step.type, resourceNamesSubscribe: [step.key] });
        break;
      case 'flush':
        this.#transport.flush();
        break;
      case 'acknowledge':
        this.#answer({});
        break;
      case 'refuse':
        this.#answer({ errorDetail: { code: 3, message: 'no' } });
        break;
      case 'reconnect':
        this.#connect();
    }
    this.#read();
  }

  /** Until there is nothing more to say to a client that asks for everything. */
  settle(): void {
    for (const type of [addressType, authorizationType] as const) this.take({ do: 'subscribe', type, key: '*' });
    let before: number;
    do {
      before = this.#taken;
      this.take({ do: 'flush' });
      this.take({ do: 'acknowledge' });
    } while (this.#taken > before);
  }

  close(): void {
    this.#stream?.close();
  }

  #publish({ policies, rewritten, names }: Publication): void {
    const version = ++this.#version;
    const addresses = this.stores[addressType];
    const authorizations = this.stores[authorizationType];
    const written = policies.filter((name) => authorizations.get(name) === undefined || rewritten.includes(name));
    authorizations.apply(written.map((name) => [name, resource(name, String(version))]));
    const rewrite = addressNames.filter((name) => {
      const named = needsOf(addresses.get(name)?.version ?? '').map(([policy]) => policy);
      return names[name] !== undefined || named.some((policy) => !policies.includes(policy));
    });
    addresses.apply(
      rewrite.map((name) => {
        const needs = (names[name] ?? [])
          .filter((policy) => policies.includes(policy))
          .map((policy) => `${policy}@${authorizations.get(policy)?.version}`);
        return [name, resource(name, [version, ...needs].join(' '))];
      }),
    );
    authorizations.apply(policyNames.filter((name) => !policies.includes(name)).map((name) => [name, undefined]));
  }

  #connect(): void {
    this.#stream?.close();
    this.#transport = new MemoryTransport();
    this.#taken = 0;
    this.#answered = new Map(this.held[authorizationType]);
    this.#stream = new DiscoveryStream({
      stores: Object.values(this.stores),
      transport: this.#transport,
      log,
      budget: new SendBudget(),
      client: 'node-1',
      now: () => 0,
    });
    for (const typeUrl of [addressType, authorizationType] as const) {
      const initialResourceVersions = Object.fromEntries(this.held[typeUrl]);
      if (this.held[typeUrl].size > 0) this.#send({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions });
    }
  }

  #send(request: Request): void {
    this.#stream?.receive(requestOf(request));
  }

  #answer(more: Request): void {
    const last = this.#transport.answers.at(-1);
    if (last === undefined) return;
    if (last.type === authorizationType) this.#answered = new Map(this.held[authorizationType]);
    this.#send({ typeUrl: last.type, responseNonce: last.nonce, ...more });
  }

  #read(): void {
    for (const answer of this.#transport.answers.slice(this.#taken)) {
      if (answer.type === addressType) this.#readAddresses(answer);
      else this.#readPolicies(answer);
    }
    this.#taken = this.#transport.answers.length;
  }

  #readAddresses({ resources, removed }: Answer): void {
    for (const name of removed) this.held[addressType].delete(name);
    for (const [name, version] of Object.entries(resources)) {
      this.held[addressType].set(name, version);
      for (const [policy, needed] of needsOf(version)) {
        const has = Number(this.#answered.get(policy) ?? 0);
        ok(has >= needed, `${name} needs ${policy}@${needed}; the client has answered ${policy}@${has}`);
      }
    }
  }

  #readPolicies({ resources, removed }: Answer): void {
    for (const name of removed) {
      this.held[authorizationType].delete(name);
      for (const [address, version] of this.held[addressType]) {
        ok(!needsOf(version).some(([policy]) => policy === name), `${address} still names ${name}, which is gone`);
      }
    }
    for (const [name, version] of Object.entries(resources)) this.held[authorizationType].set(name, version);
  }
}

describe('R33 whatever changes, and however a client answers,', () => {
  it('no address comes before a policy it needs is answered, no policy goes before its addresses, and all is told', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60, size: 'max' }), (history) => {
        const world = new World();
        for (const step of history) world.take(step);
        world.settle();
        for (const type of [addressType, authorizationType] as const) {
          const store = world.stores[type];
          const expected = [...store.names()].map((name) => [name, store.get(name)?.version]);
          deepStrictEqual([...world.held[type]].sort(), expected.sort());
        }
        world.close();
      }),
      { numRuns: 1_000 },
    );
  });
});
