import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { pino } from 'pino';
import type { TulleError } from '../../../src/errors/tulle-error.ts';
import { Gate } from '../../../src/xds/gate.ts';
import { addressType, authorizationType } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import {
  DiscoveryStream,
  defaultStreamLimits,
  largeResponseBytes,
  type StreamLimits,
} from '../../../src/xds/stream.ts';
import { type Answer, decodeAnswer, encodeRequest, type Request, resource } from './proxy.ts';

/** A transport in memory whose messages leave when the test says so. */
class MemoryWire {
  readonly answers: Answer[] = [];
  readonly #unflushed: (() => void)[] = [];
  readonly #ended = Promise.withResolvers<TulleError | undefined>();
  readonly #written = Promise.withResolvers<void>();
  over = false;

  /** Resolves with the first message. */
  get written(): Promise<void> {
    return this.#written.promise;
  }

  get ended(): Promise<TulleError | undefined> {
    return this.#ended.promise;
  }

  write(message: Buffer, flushed: () => void): void {
    this.answers.push(decodeAnswer(message));
    this.#unflushed.push(flushed);
    this.#written.resolve();
  }

  end(error?: TulleError): void {
    this.over = true;
    this.#ended.resolve(error);
  }

  /** Lets everything leave, also what is written meanwhile. */
  flush(): void {
    for (let flushed = this.#unflushed.shift(); flushed !== undefined; flushed = this.#unflushed.shift()) flushed();
  }
}

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
    return { wire, stream, send: (request: Request) => stream.receive(encodeRequest(request)) };
  };
  return { addresses, authorizations, connect, ...connect() };
}

const large = resource('large', 'x'.repeat(largeResponseBytes + 1));

describe('a discovery stream', () => {
  it('answers both types, one message at a time on the wire', () => {
    const { wire, send, addresses } = setUp();
    addresses.apply([['a', resource('a')]]);
    send({});
    send({ typeUrl: authorizationType });
    deepStrictEqual(
      wire.answers.map(({ type }) => type),
      [addressType],
    );
    wire.flush();
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
    const { wire, send, addresses } = setUp();
    send({});
    wire.flush();
    send({ responseNonce: wire.answers[0]?.nonce ?? '' });
    addresses.apply([['a', resource('a')]]);
    deepStrictEqual(wire.answers[1]?.resources, { a: '1' });
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
