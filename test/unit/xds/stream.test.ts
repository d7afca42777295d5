import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { mock } from 'node:test';
import { pino } from 'pino';
import { addressType, authorizationType } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { defaultSendLimits, SendBudget } from '../../../src/xds/send-budget.ts';
import { DiscoveryStream, defaultStreamLimits, type StreamLimits } from '../../../src/xds/stream.ts';
import { MemoryTransport } from './memory-transport.ts';
import { type Request, requestOf, resource } from './proxy.ts';

function setUp({
  limits = defaultStreamLimits,
  budget = new SendBudget(),
}: {
  limits?: StreamLimits;
  budget?: SendBudget;
} = {}) {
  const addresses = new ResourceStore(addressType);
  const authorizations = new ResourceStore(authorizationType);
  const stores = [addresses, authorizations];
  const log = pino({ level: 'silent' });
  const connect = (client = 'node-1') => {
    const transport = new MemoryTransport();
    const stream = new DiscoveryStream({ stores, transport, log, limits, budget, client, now: () => 0 });
    const send = (request: Request) => stream.receive(requestOf(request));
    /** Answers the last message, which has left. */
    const acknowledge = (more: Request = {}) => {
      transport.flush();
      const last = transport.answers.at(-1);
      ok(last);
      send({ typeUrl: last.type, responseNonce: last.nonce, ...more });
    };
    return { transport, stream, send, acknowledge };
  };
  return { addresses, authorizations, connect, ...connect() };
}

const large = resource('large', 'x'.repeat(300_000));

describe('a discovery stream', () => {
  it('answers both types, one message at a time', () => {
    const { transport, send, acknowledge, addresses } = setUp();
    addresses.apply([['a', resource('a')]]);
    send({});
    send({ typeUrl: authorizationType });
    deepStrictEqual(
      transport.answers.map(({ type }) => type),
      [addressType],
    );
    acknowledge();
    deepStrictEqual(
      transport.answers.map(({ type, resources }) => [type, resources]),
      [
        [addressType, { a: '1' }],
        [authorizationType, {}],
      ],
    );
  });

  it('says what its client has answered, as a revision of the store', () => {
    const { send, acknowledge, addresses, stream } = setUp();
    addresses.apply([['a', resource('a')]]);
    strictEqual(stream.told(addressType), undefined);
    send({});
    strictEqual(stream.told(addressType), undefined);
    acknowledge();
    strictEqual(stream.told(addressType), 1);
    addresses.apply([['b', resource('b')]]);
    addresses.apply([['c', resource('c')]]);
    strictEqual(stream.told(addressType), 1);
    acknowledge();
    strictEqual(stream.told(addressType), 2, 'the next round is under way');
    acknowledge();
    strictEqual(stream.told(addressType), 3);
  });

  it('has been told what does not concern it', () => {
    const { send, acknowledge, addresses, stream } = setUp();
    send({ resourceNamesSubscribe: ['a'] });
    acknowledge();
    addresses.apply([['b', resource('b')]]);
    strictEqual(stream.told(addressType), 1);
  });

  it('leaves a type it does not know unanswered, and the others alone', () => {
    const { transport, send } = setUp();
    send({ typeUrl: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' });
    send({});
    transport.flush();
    strictEqual(transport.answers.length, 1);
    strictEqual(transport.over, false);
  });

  it('is ended when its client is silent: nothing is kept for it', async () => {
    const { transport, send, addresses } = setUp({ limits: { ...defaultStreamLimits, acknowledgeMs: 1 } });
    send({});
    transport.flush();
    strictEqual((await transport.ended)?.code, 'XdsClientSilent');
    addresses.apply([['a', resource('a')]]);
    strictEqual(transport.answers.length, 1);
  });

  describe('R38 whose client is slow', () => {
    beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
    afterEach(() => mock.timers.reset());

    it('goes on while it is read, and then has the full time to be acknowledged', () => {
      const { transport, send, acknowledge, addresses } = setUp();
      addresses.apply([['large', large]]);
      send({});
      for (let minute = 0; minute < 10; minute++) {
        transport.progress(1);
        mock.timers.tick(defaultStreamLimits.acknowledgeMs - 1);
        strictEqual(transport.over, false);
      }
      transport.progress(1);
      acknowledge();
      mock.timers.tick(defaultStreamLimits.acknowledgeMs);
      strictEqual(transport.over, false);
    });

    it('ends when nothing is read any more', () => {
      const { transport, send, addresses } = setUp();
      addresses.apply([['large', large]]);
      send({});
      transport.progress(1);
      mock.timers.tick(defaultStreamLimits.acknowledgeMs);
      strictEqual(transport.over, true);
    });
  });

  it('goes on when its client acknowledged in time', () => {
    const { transport, send, acknowledge, addresses } = setUp();
    send({});
    acknowledge();
    addresses.apply([['a', resource('a')]]);
    deepStrictEqual(transport.answers[1]?.resources, { a: '1' });
  });

  it('does not send again what its client refused, until it changes', () => {
    const { transport, send, acknowledge, addresses } = setUp();
    addresses.apply([['a', resource('a')]]);
    send({});
    acknowledge({ errorDetail: { code: 3, message: 'no' } });
    strictEqual(transport.answers.length, 1);
    addresses.apply([['a', resource('a', '2')]]);
    deepStrictEqual(transport.answers[1]?.resources, { a: '2' });
  });

  it('takes nothing for an answer that has an old, a wrong or no nonce, or is of another type', () => {
    const { transport, send, acknowledge, addresses } = setUp();
    send({});
    acknowledge();
    addresses.apply([['a', resource('a')]]);
    addresses.apply([['a', resource('a', '2')]]);
    transport.flush();
    const [old, last] = transport.answers.map(({ nonce }) => nonce);
    for (const responseNonce of [old ?? '', 'made-up', '']) send({ responseNonce });
    send({ typeUrl: authorizationType, responseNonce: last ?? '' });
    strictEqual(transport.answers.length, 2);
    acknowledge();
    acknowledge();
    deepStrictEqual(
      transport.answers.slice(2).map(({ type, resources }) => [type, resources]),
      [
        [authorizationType, {}],
        [addressType, { a: '2' }],
      ],
    );
  });

  it('is ended when its client refuses or asks in a loop', async () => {
    const { transport, send } = setUp({ limits: { ...defaultStreamLimits, requestBurst: 100 } });
    let sent = 0;
    for (; !transport.over && sent < 1000; sent++)
      send({ responseNonce: '1', errorDetail: { code: 3, message: 'no' } });
    strictEqual(sent, 101);
    strictEqual((await transport.ended)?.code, 'XdsRequestsTooMany');
    strictEqual(transport.answers.length, 1);
  });

  it('writes nothing once it is closed', () => {
    const { transport, stream, send, addresses } = setUp();
    send({});
    stream.close();
    addresses.apply([['a', resource('a')]]);
    transport.flush();
    strictEqual(transport.answers.length, 1);
  });
});

describe('R38 responses that wait for room', () => {
  const limits = {
    ...defaultSendLimits,
    small: 1_000,
    allLarge: large.encoded.length + 1_000,
    each: 0,
    stallMs: 60_000,
  };
  /** A client that asks for everything, of another node than the others. */
  const asking = (connect: (client?: string) => ReturnType<ReturnType<typeof setUp>['connect']>, name: string) => {
    const client = connect(name);
    client.send({});
    return client;
  };
  const written = (...clients: { transport: MemoryTransport }[]) =>
    clients.map(({ transport }) => transport.answers.length);

  it('leave one after another, small ones do not wait for them', () => {
    const { addresses, connect } = setUp({ budget: new SendBudget(limits) });
    addresses.apply([['large', large]]);
    const [first, second, third] = [asking(connect, 'n1'), asking(connect, 'n2'), connect('n3')];
    third.send({ typeUrl: authorizationType });
    deepStrictEqual(written(first, second, third), [1, 0, 1]);
    first.transport.flush();
    deepStrictEqual(written(second), [1]);
  });

  it('are one at a time for a client, where they come to more than its share', () => {
    const { addresses, connect } = setUp({ budget: new SendBudget({ ...limits, allLarge: limits.allLarge * 10 }) });
    addresses.apply([['large', large]]);
    const [first, second, other] = [asking(connect, 'n1'), asking(connect, 'n1'), asking(connect, 'n2')];
    deepStrictEqual(written(first, second, other), [1, 0, 1]);
    first.transport.flush();
    deepStrictEqual(written(second), [1]);
  });

  it('end, late, those of a client that does not read, and take their room when their bytes are gone', async () => {
    const budget = new SendBudget({ ...limits, stallMs: 1 });
    const { addresses, connect } = setUp({ budget });
    addresses.apply([['large', large]]);
    const stuck = asking(connect, 'n1');
    await new Promise((resolve) => setTimeout(resolve, 5));
    strictEqual(stuck.transport.over, false, 'nobody waits');
    const next = asking(connect, 'n2');
    strictEqual((await stuck.transport.ended)?.code, 'XdsClientSilent');
    deepStrictEqual(written(next), [0], 'the transport still has the bytes');
    stuck.transport.flush();
    deepStrictEqual(written(next), [1]);
    strictEqual(budget.held, large.encoded.length);
  });

  it('count the names of what is gone, too', () => {
    const budget = new SendBudget(limits);
    const { addresses, connect } = setUp({ budget });
    const name = 'a'.repeat(100);
    addresses.apply([[name, resource(name)]]);
    const client = asking(connect, 'n1');
    client.acknowledge();
    addresses.apply([[name, undefined]]);
    strictEqual(budget.held, name.length);
  });

  it('do not wait for a client that is gone', () => {
    const { addresses, connect } = setUp({ budget: new SendBudget(limits) });
    addresses.apply([['large', large]]);
    const [stuck, waiting, last] = [asking(connect, 'n1'), asking(connect, 'n2'), asking(connect, 'n3')];
    waiting.stream.close();
    stuck.stream.close();
    stuck.transport.flush();
    deepStrictEqual(written(waiting, last), [0, 1]);
    ok(!last.transport.over);
  });

  it('are not believed to be read because their client says so', async () => {
    const { addresses, connect } = setUp({ limits: { ...defaultStreamLimits, acknowledgeMs: 1 } });
    addresses.apply([['a', resource('a')]]);
    const liar = asking(connect, 'n1');
    liar.send({ responseNonce: liar.transport.answers[0]?.nonce ?? '' });
    strictEqual((await liar.transport.ended)?.code, 'XdsClientSilent');
  });
});
