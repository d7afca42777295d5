import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import http2 from 'node:http2';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { pino } from 'pino';
import { until } from '../../hack/process.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { TulleError } from '../../src/errors/tulle-error.ts';
import { GrpcServer } from '../../src/grpc/server.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { addressType, authorizationType, type Resource } from '../../src/xds/resource.ts';
import { ResourceStore } from '../../src/xds/resource-store.ts';
import { defaultSendLimits } from '../../src/xds/send-budget.ts';
import { type DiscoveryOptions, DiscoveryService } from '../../src/xds/service.ts';
import { defaultStreamLimits } from '../../src/xds/stream.ts';
import { deltaAggregatedResources } from '../fixtures/grpc/methods.ts';
import { type Answer, answerOf, type Request, requestOf, resource } from '../unit/xds/proxy.ts';

interface Stream {
  readonly answers: Answer[];
  /** Status of the end. */
  readonly ended: Promise<string>;
  next(): Promise<Answer>;
  /** `left` is called when the message has left. */
  send(request: Request, left?: () => void): void;
}

const limitMs = 10_000;

describe('discovery over a real connection', function () {
  this.timeout(30_000);
  const cleanUps: (() => void)[] = [];

  afterEach(() => {
    for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
  });

  async function setUp(options: Partial<DiscoveryOptions> = {}, ...resources: readonly Resource[]) {
    const store = new ResourceStore(addressType);
    store.apply(resources.map((value) => [value.name, value]));
    const policies = new ResourceStore(authorizationType);
    const service = new DiscoveryService({
      stores: [store, policies],
      admit: async () => ({ name: 'node-1' }),
      ready: () => true,
      log: pino({ level: 'silent' }),
      random: () => 0,
      ...options,
    });
    const server = new GrpcServer({ methods: [service.method], log: silentLog, insecure: true });
    const port = await server.listen(0, '127.0.0.1');
    cleanUps.push(() => {
      void server.close();
      server.destroy();
    });
    return {
      store,
      policies,
      service,
      server,
      port,
      connect: () => open(dial(port)),
      /** How to open streams on one connection. */
      dial: () => {
        const client = dial(port);
        return () => open(client);
      },
    };
  }

  function dial(port: number): Client {
    const local = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1 };
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), local);
    cleanUps.push(() => client.close());
    return client;
  }

  function open(client: Client): Stream {
    const { path, serialize, deserialize } = deltaAggregatedResources;
    const call = client.makeBidiStreamRequest(path, serialize, deserialize);
    const answers: Answer[] = [];
    const waiting: ((answer: Answer) => void)[] = [];
    call.on('data', (message: DeltaDiscoveryResponse) => {
      const answer = answerOf(message);
      answers.push(answer);
      waiting.shift()?.(answer);
    });
    const ended = new Promise<string>((resolve) => {
      call.on('error', (error: ServiceError) => resolve(status[error.code] ?? ''));
      call.on('end', () => resolve('OK'));
    });
    return {
      answers,
      ended,
      next: () => within('an answer', new Promise<Answer>((resolve) => waiting.push(resolve))),
      send: (request, left = () => {}) => void call.write(requestOf(request), left),
    };
  }

  /** A call as anybody may write it. */
  function call(port: number, options: http2.ClientSessionOptions = {}) {
    const session = http2.connect(`http://127.0.0.1:${port}`, options);
    cleanUps.push(() => session.destroy());
    const head = {
      ':method': 'POST',
      ':path': deltaAggregatedResources.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    };
    const request = session.request(head);
    request.on('error', () => {});
    return { session, request };
  }

  /** A client that asks for everything and never reads: the window of its stream closes. */
  function neverRead(port: number): void {
    call(port).request.write(framed(requestOf({})));
  }

  it('refuses everybody until the mesh is known, so that no proxy sees an empty one', async () => {
    let known = false;
    const { connect, store } = await setUp({ ready: () => known });
    const early = connect();
    early.send({});
    strictEqual(await within('the end', early.ended), 'UNAVAILABLE');
    deepStrictEqual(early.answers, []);
    store.apply([['a', resource('a')]]);
    known = true;
    const stream = connect();
    const answer = stream.next();
    stream.send({});
    deepStrictEqual((await answer).resources, { a: '1' });
  });

  it('R37 reads nothing from a caller that is not let in yet', async () => {
    const verdict = Promise.withResolvers<{ name: string }>();
    const asked = Promise.withResolvers<void>();
    const admit = () => {
      asked.resolve();
      return verdict.promise;
    };
    const { port } = await setUp({ admit }, resource('a'));
    const { session, request } = call(port);
    const answered = new Promise((resolve) => request.once('data', resolve));
    const message = framed(requestOf({ initialResourceVersions: { large: 'x'.repeat(1024 * 1024) } }));
    request.write(message);
    await within('its admission', asked.promise);
    const pong = () => new Promise((resolve) => session.ping(resolve));
    // The server takes frames in the order they were sent, and says before it answers a ping how much more it will take.
    for (let round = 0; round < 5; round++) await within('the answer to a ping', pong());
    ok(session.socket.bytesWritten < 128 * 1024, `${session.socket.bytesWritten} bytes were taken`);
    verdict.resolve({ name: 'node-1' });
    await within('an answer', answered);
    ok(session.socket.bytesWritten > message.length);
  });

  it('answers each kind of refusal with its status', async () => {
    const refusals = [
      [new TulleError('CallerUnauthenticated', 'x'), 'UNAUTHENTICATED'],
      [new TulleError('CallerNotPermitted', 'x'), 'PERMISSION_DENIED'],
      [new TulleError('CallerReviewUnavailable', 'x'), 'UNAVAILABLE'],
      [new Error('a secret'), 'INTERNAL'],
    ] as const;
    for (const [error, expected] of refusals) {
      const { connect } = await setUp({ admit: () => Promise.reject(error) });
      strictEqual(await within('the end', connect().ended), expected);
    }
  });

  it('ends a stream in order when it is old, and all of them when it goes away', async () => {
    const { connect } = await setUp({ maxStreamAgeMs: 20 });
    strictEqual(await within('the end', connect().ended), 'OK');
    const { connect: again, service, server } = await setUp({}, resource('a'));
    const streams = [again(), again(), again()];
    for (const stream of streams) {
      const answer = stream.next();
      stream.send({});
      await answer;
    }
    const closed = server.close();
    await service.drain(30);
    deepStrictEqual(await Promise.all(streams.map(({ ended }) => within('the end', ended))), ['OK', 'OK', 'OK']);
    strictEqual(await within('the server is closed', closed), undefined);
  });

  it('R33 makes a client ready whichever type it asks for first, and tells it policy before addresses', async () => {
    for (const first of [addressType, authorizationType]) {
      const { connect, policies } = await setUp({}, resource('web'));
      policies.apply([['strict', resource('strict')]]);
      const stream = connect();
      const second = first === addressType ? authorizationType : addressType;
      const answer = stream.next();
      for (const typeUrl of [first, second]) stream.send({ typeUrl, resourceNamesSubscribe: ['*'] });
      const policy = await answer;
      deepStrictEqual([policy.type, policy.resources], [authorizationType, { strict: '1' }]);
      const next = stream.next();
      stream.send({ typeUrl: authorizationType, responseNonce: policy.nonce });
      const address = await next;
      deepStrictEqual([address.type, address.resources], [addressType, { web: '1' }]);
      strictEqual(stream.answers.length, 2);
    }
  });

  it('R33 makes a client ready also where both types are empty', async () => {
    const { connect } = await setUp();
    const stream = connect();
    const first = stream.next();
    for (const typeUrl of [addressType, authorizationType]) stream.send({ typeUrl });
    const { type, nonce } = await first;
    const second = stream.next();
    stream.send({ typeUrl: type, responseNonce: nonce });
    deepStrictEqual(new Set([type, (await second).type]), new Set([addressType, authorizationType]));
  });

  it('R33 tells a client that never asks for policies no address that needs one, and why its stream ends', async () => {
    const limits = { ...defaultStreamLimits, subscribeMs: 50 };
    const { connect, policies } = await setUp({ limits }, resource('web'));
    policies.apply([['strict', resource('strict')]]);
    const stream = connect();
    stream.send({});
    strictEqual(await within('the end', stream.ended), 'FAILED_PRECONDITION');
    deepStrictEqual(stream.answers, []);
  });

  it('R38 gives back what a stream held whose client resets it while it is written to', async () => {
    const { port, service, connect } = await setUp(
      { maxStreams: { each: 1, all: 1 } },
      resource('big', 'x'.repeat(32 << 20)),
    );
    for (let round = 0; round < 3; round++) {
      const { session, request } = call(port, { settings: { initialWindowSize: 64 << 20 } });
      session.once('connect', () => session.setLocalWindowSize(64 << 20));
      request.write(framed(requestOf({})));
      await within('the first bytes', new Promise((resolve) => request.once('readable', resolve)));
      request.close(http2.constants.NGHTTP2_CANCEL);
      await until('nothing is held', () => service.unreadBytes === 0, { limitMs });
    }
    const next = connect();
    const answer = next.next();
    next.send({});
    deepStrictEqual(Object.keys((await answer).resources).length, 1);
  });

  it('R37 tells a client whose request is too long, compressed or none what is wrong with it', async () => {
    const { port } = await setUp();
    const long = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]);
    for (const [bytes, expected] of [
      [long, status.RESOURCE_EXHAUSTED],
      [Buffer.from([1, 0, 0, 0, 1, 0]), status.UNIMPLEMENTED],
      [Buffer.from([0, 0, 0, 0, 1, 0xff]), status.INVALID_ARGUMENT],
    ] as const) {
      const { request } = call(port);
      const answered = new Promise<http2.IncomingHttpHeaders>((resolve) => request.once('response', resolve));
      request.write(bytes);
      strictEqual(Number((await within('an answer', answered))['grpc-status']), expected);
    }
  });

  it('R39 holds nothing of what a stream was told, or has asked, when it is idle', async () => {
    const size = 4 * 1024 * 1024;
    const streams = 8;
    let callers = 0;
    const admit = async () => ({ name: `node-${callers++}` });
    const { port, service } = await setUp({ admit }, resource('big', 'x'.repeat(size)));
    const before = await arrayBuffers();
    for (let stream = 0; stream < streams; stream++) {
      const { request } = call(port);
      let read = 0;
      const told = new Promise<void>((resolve) =>
        request.on('data', (bytes: Buffer) => {
          read += bytes.length;
          if (read > size) resolve();
        }),
      );
      // As long as what it is told: it asks for much that is not there.
      const names = Array.from({ length: size / 1024 }, (_, index) => String(index).padEnd(1000, '-'));
      request.write(
        framed(requestOf({ initialResourceVersions: Object.fromEntries(names.map((name) => [name, ''])) })),
      );
      await within('a response', told);
    }
    await until('nothing is on its way', () => service.unreadBytes === 0, { limitMs });
    const each = ((await arrayBuffers()) - before) / streams;
    ok(each < 256 * 1024, `${each} bytes each`);
  });

  it('R38 holds so many bytes for clients that do not read, over all streams, and serves those that do', async () => {
    const big = resource('big', 'x'.repeat(8 * 1024 * 1024));
    const sendLimits = {
      ...defaultSendLimits,
      allLarge: 20 * 1024 * 1024,
      each: 1024 * 1024,
      small: 64 * 1024,
      stallMs: 300,
    };
    let callers = 0;
    const admit = async () => ({ name: `node-${callers++}` });
    const { connect, store, port, service } = await setUp({ admit, sendLimits }, big);
    let most = 0;
    const sampling = setInterval(() => {
      most = Math.max(most, service.unreadBytes);
    }, 1);
    cleanUps.push(() => clearInterval(sampling));
    for (let stream = 0; stream < 12; stream++) neverRead(port);
    const lively = connect();
    const first = lively.next();
    lively.send({});
    lively.send({ responseNonce: (await first).nonce });
    const second = lively.next();
    store.apply([['small', resource('small')]]);
    deepStrictEqual((await second).resources, { small: '1' });
    ok(most > big.encoded.length && most <= sendLimits.allLarge, `${most} bytes at most`);
  });
});

function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${limitMs} ms`)), limitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Of this process, when nothing is left to collect. */
async function arrayBuffers(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  for (let rounds = 0; rounds < 5; rounds++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

/** A message in the frame of gRPC: not compressed, and its length. */
function framed(message: DeltaDiscoveryRequest): Buffer {
  const bytes = deltaAggregatedResources.serialize(message);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}
