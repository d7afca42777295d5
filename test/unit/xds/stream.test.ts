import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { pino } from 'pino';
import { Gate } from '../../../src/xds/gate.ts';
import { addressType, authorizationType } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import {
  DiscoveryStream,
  defaultStreamLimits,
  largeResponseBytes,
  type StreamLimits,
} from '../../../src/xds/stream.ts';
import { MemoryWire } from './memory-wire.ts';
import { encodeRequest, type Request, resource } from './proxy.ts';

function setUp({
  limits = defaultStreamLimits,
  gate = new Gate(1, 60_000),
}: {
  limits?: StreamLimits;
  gate?: Gate;
} = {}) {
  const addresses = new ResourceStore(addressType);
  const authorizations = new ResourceStore(authorizationType);
  const stores = [addresses, authorizations];
  const log = pino({ level: 'silent' });
  const connect = () => {
    const wire = new MemoryWire();
    const stream = new DiscoveryStream({ stores, wire, log, limits, gate, now: () => 0 });
    const send = (request: Request) => stream.receive(encodeRequest(request));
    /** Answers the last message, which has left. */
    const acknowledge = (more: Request = {}) => {
      wire.flush();
      const last = wire.answers.at(-1);
      ok(last);
      send({ typeUrl: last.type, responseNonce: last.nonce, ...more });
    };
    return { wire, stream, send, acknowledge };
  };
  return { addresses, authorizations, connect, ...connect() };
}

const large = resource('large', 'x'.repeat(largeResponseBytes + 1));

describe('a discovery stream', () => {
  it('answers both types, one message at a time', () => {
    const { wire, send, acknowledge, addresses } = setUp();
    addresses.apply([['a', resource('a')]]);
    send({});
    send({ typeUrl: authorizationType });
    deepStrictEqual(
      wire.answers.map(({ type }) => type),
      [addressType],
    );
    acknowledge();
    deepStrictEqual(
      wire.answers.map(({ type, resources }) => [type, resources]),
      [
        [addressType, { a: '1' }],
        [authorizationType, {}],
      ],
    );
  });

  it('leaves a type it does not know unanswered, and the others alone', () => {
    const { wire, send } = setUp();
    send({ typeUrl: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' });
    send({});
    wire.flush();
    strictEqual(wire.answers.length, 1);
    strictEqual(wire.over, false);
  });

  it('is ended by what is not a request, and told why', async () => {
    const { wire, stream } = setUp();
    stream.receive(Buffer.from('GET / HTTP/1.1'));
    strictEqual((await wire.ended)?.code, 'XdsRequestInvalid');
  });

  it('is ended when its client is silent: nothing is kept for it', async () => {
    const { wire, send, addresses } = setUp({ limits: { ...defaultStreamLimits, acknowledgeMs: 1 } });
    send({});
    wire.flush();
    strictEqual((await wire.ended)?.code, 'XdsClientSilent');
    addresses.apply([['a', resource('a')]]);
    strictEqual(wire.answers.length, 1);
  });

  it('goes on when its client acknowledged in time', () => {
    const { wire, send, acknowledge, addresses } = setUp();
    send({});
    acknowledge();
    addresses.apply([['a', resource('a')]]);
    deepStrictEqual(wire.answers[1]?.resources, { a: '1' });
  });

  it('does not send again what its client refused, until it changes', () => {
    const { wire, send, acknowledge, addresses } = setUp();
    addresses.apply([['a', resource('a')]]);
    send({});
    acknowledge({ errorDetail: { code: 3, message: 'no' } });
    strictEqual(wire.answers.length, 1);
    addresses.apply([['a', resource('a', '2')]]);
    deepStrictEqual(wire.answers[1]?.resources, { a: '2' });
  });

  it('takes nothing for an answer that has an old, a wrong or no nonce, or is of another type', () => {
    const { wire, send, acknowledge, addresses } = setUp();
    send({});
    acknowledge();
    addresses.apply([['a', resource('a')]]);
    addresses.apply([['a', resource('a', '2')]]);
    wire.flush();
    const [old, last] = wire.answers.map(({ nonce }) => nonce);
    for (const responseNonce of [old ?? '', 'made-up', '']) send({ responseNonce });
    send({ typeUrl: authorizationType, responseNonce: last ?? '' });
    strictEqual(wire.answers.length, 2);
    acknowledge();
    acknowledge();
    deepStrictEqual(
      wire.answers.slice(2).map(({ type, resources }) => [type, resources]),
      [
        [authorizationType, {}],
        [addressType, { a: '2' }],
      ],
    );
  });

  it('is ended when its client refuses or asks in a loop', async () => {
    const { wire, send } = setUp({ limits: { ...defaultStreamLimits, requestBurst: 100 } });
    let sent = 0;
    for (; !wire.over && sent < 1000; sent++) send({ responseNonce: '1', errorDetail: { code: 3, message: 'no' } });
    strictEqual(sent, 101);
    strictEqual((await wire.ended)?.code, 'XdsRequestsTooMany');
    strictEqual(wire.answers.length, 1);
  });

  it('writes nothing once it is closed', () => {
    const { wire, stream, send, addresses } = setUp();
    send({});
    stream.close();
    addresses.apply([['a', resource('a')]]);
    wire.flush();
    strictEqual(wire.answers.length, 1);
  });
});

describe('large responses', () => {
  it('leave one after another, small ones do not wait for them', () => {
    const { addresses, connect } = setUp();
    addresses.apply([['large', large]]);
    const [first, second, third] = [connect(), connect(), connect()];
    for (const { send } of [first, second]) send({});
    third.send({ typeUrl: authorizationType });
    deepStrictEqual(
      [first, second, third].map(({ wire }) => wire.answers.length),
      [1, 0, 1],
    );
    first.wire.flush();
    strictEqual(second.wire.answers.length, 1);
  });

  it('do not wait long for a client that does not read', async () => {
    const { addresses, connect } = setUp({ gate: new Gate(1, 1) });
    addresses.apply([['large', large]]);
    const [stuck, next] = [connect(), connect()];
    for (const { send } of [stuck, next]) send({});
    strictEqual(next.wire.answers.length, 0);
    await next.wire.written;
    strictEqual(stuck.wire.over, false);
  });

  it('do not wait for a client that is gone', () => {
    const { addresses, connect } = setUp();
    addresses.apply([['large', large]]);
    const [stuck, waiting, last] = [connect(), connect(), connect()];
    for (const { send } of [stuck, waiting, last]) send({});
    waiting.stream.close();
    stuck.stream.close();
    deepStrictEqual(
      [waiting, last].map(({ wire }) => wire.answers.length),
      [0, 1],
    );
    ok(!last.wire.over);
  });
});
