import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { pino } from 'pino';
import { addressType, authorizationType, type TypeUrl } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { SendBudget } from '../../../src/xds/send-budget.ts';
import { DiscoveryStream, defaultStreamLimits } from '../../../src/xds/stream.ts';
import { MemoryTransport } from './memory-transport.ts';
import { type Request, requestOf, resource } from './proxy.ts';

/** A stream over both types, and a client that answers when the test says so. */
function setUp(limits: Partial<typeof defaultStreamLimits> = {}) {
  const addresses = new ResourceStore(addressType);
  const authorizations = new ResourceStore(authorizationType);
  const transport = new MemoryTransport();
  const stream = new DiscoveryStream({
    stores: [addresses, authorizations],
    transport,
    log: pino({ level: 'silent' }),
    limits: { ...defaultStreamLimits, ...limits },
    budget: new SendBudget(),
    client: 'node-1',
    now: () => 0,
  });
  const send = (request: Request) => stream.receive(requestOf(request));
  let answered = 0;
  return {
    addresses,
    authorizations,
    transport,
    stream,
    subscribe: (type: TypeUrl, more: Request = {}) => send({ typeUrl: type, resourceNamesSubscribe: ['*'], ...more }),
    /** What has been written since the last call. */
    told(): (readonly [type: string, present: readonly string[], gone: readonly string[]])[] {
      transport.flush();
      const news = transport.answers.slice(answered);
      answered = transport.answers.length;
      return news.map(({ type, resources, removed }) => [label(type), Object.keys(resources), removed]);
    },
    /** Answers the last message. */
    acknowledge(more: Request = {}): void {
      const last = transport.answers.at(-1);
      ok(last);
      send({ typeUrl: last.type, responseNonce: last.nonce, ...more });
    },
  };
}

const label = (type: string) => (type === addressType ? 'addresses' : 'policies');

describe('R33 what a client is told', () => {
  it('is policy first, whichever it asked for first, and addresses once it has acknowledged that', () => {
    for (const types of [
      [addressType, authorizationType],
      [authorizationType, addressType],
    ] as const) {
      const client = setUp();
      client.authorizations.apply([['strict', resource('strict')]]);
      client.addresses.apply([['web', resource('web')]]);
      for (const type of types) client.subscribe(type);
      deepStrictEqual(client.told(), [['policies', ['strict'], []]]);
      client.acknowledge();
      deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
    }
  });

  it('is no address while a policy that came no later is not acknowledged', () => {
    const client = setUp();
    client.subscribe(authorizationType);
    client.told();
    client.acknowledge();
    client.subscribe(addressType);
    client.told();
    client.acknowledge();
    client.authorizations.apply([['deny', resource('deny')]]);
    client.addresses.apply([['web', resource('web')]]);
    deepStrictEqual(client.told(), [['policies', ['deny'], []]]);
    client.subscribe(addressType, { responseNonce: 'made-up' });
    deepStrictEqual(client.told(), []);
    client.acknowledge();
    deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
  });

  it('is an address also after a policy that it refused: it refuses what that policy covers', () => {
    const client = setUp();
    client.authorizations.apply([['newer', resource('newer')]]);
    client.addresses.apply([['web', resource('web')]]);
    client.subscribe(authorizationType);
    client.subscribe(addressType);
    client.told();
    client.acknowledge({ errorDetail: { code: 3, message: 'an action this proxy does not know' } });
    deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
  });

  it('is the end of a policy only when no address it has names that policy', () => {
    const client = setUp();
    client.authorizations.apply([['deny', resource('deny')]]);
    client.addresses.apply([['web', resource('web', 'names deny')]]);
    client.subscribe(authorizationType);
    client.subscribe(addressType);
    client.told();
    client.acknowledge();
    client.told();
    client.authorizations.apply([['other', resource('other')]]);
    client.addresses.apply([['web', resource('web', 'names other')]]);
    client.authorizations.apply([['deny', undefined]]);
    client.acknowledge();
    deepStrictEqual(client.told(), [['policies', ['other'], []]]);
    client.acknowledge();
    deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
    client.acknowledge();
    deepStrictEqual(client.told(), [['policies', [], ['deny']]]);
  });

  it('is an address within one turn of policy, however often policy changes meanwhile', () => {
    const client = setUp();
    client.subscribe(authorizationType);
    client.told();
    client.acknowledge();
    client.subscribe(addressType);
    client.told();
    client.acknowledge();
    client.authorizations.apply([['busy', resource('busy', '0')]]);
    client.addresses.apply([['web', resource('web')]]);
    for (let version = 1; version <= 3; version++) {
      client.told();
      client.authorizations.apply([['busy', resource('busy', String(version))]]);
      client.acknowledge();
    }
    const written = client.transport.answers.map(({ type, resources }) => [label(type), Object.keys(resources)]);
    deepStrictEqual(written.slice(2, 5), [
      ['policies', ['busy']],
      ['policies', ['busy']],
      ['addresses', ['web']],
    ]);
  });
});

describe('R33 a client that asks for addresses and not for policies', () => {
  it('is told addresses while there is no policy', () => {
    const client = setUp();
    client.addresses.apply([['web', resource('web')]]);
    client.subscribe(addressType);
    deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
  });

  it('is told none while there is one, and is not left without an answer: its stream ends with the reason', async () => {
    const client = setUp({ subscribeMs: 1 });
    client.authorizations.apply([['strict', resource('strict')]]);
    client.addresses.apply([['web', resource('web')]]);
    client.subscribe(addressType);
    strictEqual((await client.transport.ended)?.code, 'XdsPolicyNotAsked');
    deepStrictEqual(client.told(), []);
  });

  it('is not left with addresses that it was told before there was one', async () => {
    const client = setUp({ subscribeMs: 1 });
    client.addresses.apply([['web', resource('web')]]);
    client.subscribe(addressType);
    deepStrictEqual(client.told(), [['addresses', ['web'], []]]);
    client.acknowledge();
    client.authorizations.apply([['strict', resource('strict')]]);
    strictEqual((await client.transport.ended)?.code, 'XdsPolicyNotAsked');
  });

  it('is told none any more once it has given up policies', () => {
    const client = setUp();
    client.authorizations.apply([['strict', resource('strict')]]);
    client.subscribe(authorizationType);
    client.subscribe(addressType);
    client.told();
    client.acknowledge();
    client.told();
    client.acknowledge();
    client.subscribe(authorizationType, { resourceNamesSubscribe: [], resourceNamesUnsubscribe: ['*'] });
    client.addresses.apply([['web', resource('web')]]);
    deepStrictEqual(client.told(), []);
    client.stream.close();
  });

  it('is told them when it asks for all policies after all, or when there is none any more', () => {
    const strict = setUp();
    strict.authorizations.apply([['strict', resource('strict')]]);
    strict.addresses.apply([['web', resource('web')]]);
    strict.subscribe(addressType);
    strict.subscribe(authorizationType, { resourceNamesSubscribe: ['other'] });
    deepStrictEqual(strict.told(), [['policies', [], ['other']]]);
    strict.acknowledge();
    deepStrictEqual(strict.told(), []);
    strict.subscribe(authorizationType);
    deepStrictEqual(strict.told(), [['policies', ['strict'], []]]);
    strict.acknowledge();
    deepStrictEqual(strict.told(), [['addresses', ['web'], []]]);

    const permissive = setUp();
    permissive.authorizations.apply([['strict', resource('strict')]]);
    permissive.addresses.apply([['web', resource('web')]]);
    permissive.subscribe(addressType);
    permissive.authorizations.apply([['strict', undefined]]);
    deepStrictEqual(permissive.told(), [['addresses', ['web'], []]]);
  });
});
