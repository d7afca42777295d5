import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict';
import http2 from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { create } from '@bufbuild/protobuf';
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from '../../proto/gen/istio/ca/ca_pb.js';
import { TulleError } from '../../src/errors/tulle-error.ts';
import type { IncomingCall } from '../../src/grpc/call.ts';
import { unary } from '../../src/grpc/method.ts';
import { GrpcServer, type ServerLimits } from '../../src/grpc/server.ts';
import { statusCodes } from '../../src/grpc/status.ts';
import { Shares } from '../../src/limits/shares.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { createCertificate } from '../fixtures/grpc/methods.ts';

const token = 'Bearer of-one-who-is-known';

describe('a gRPC server', function () {
  this.timeout(30_000);
  const cleanUps: (() => void)[] = [];
  let received: IstioCertificateRequest[];
  /** Calls that are being let in or refused, and how many at most. */
  let looking: number;
  let mostLooking: number;

  beforeEach(() => {
    looking = 0;
    mostLooking = 0;
    received = [];
  });

  afterEach(() => {
    for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
  });

  async function listen({
    openCalls = 100,
    readWithinMs = 10_000,
    ...limits
  }: Partial<ServerLimits> & { openCalls?: number; readWithinMs?: number } = {}): Promise<number> {
    const open = new Shares({ each: openCalls, all: 100 });
    const guard = {
      admit: async ({ authorization }: IncomingCall) => {
        looking += 1;
        mostLooking = Math.max(mostLooking, looking);
        await new Promise((resolve) => setImmediate(resolve));
        looking -= 1;
        if (authorization === token) return 'known';
        throw new TulleError('CallerUnauthenticated', 'No token.', { fix: 'Bring one: it is free.' });
      },
      share: (holder: string) => ({ of: open, holder }),
      maxMessageBytes: 1024,
    };
    const method = unary(
      IstioCertificateService.method.createCertificate,
      guard,
      async (request) => {
        received.push(request);
        return create(IstioCertificateResponseSchema, { certChain: ['leaf'] });
      },
      { readWithinMs },
    );
    const server = new GrpcServer({ methods: [method], log: silentLog, limits, insecure: true });
    const port = await server.listen(0, '127.0.0.1');
    cleanUps.push(() => {
      void server.close();
      server.destroy();
    });
    return port;
  }

  function dial(port: number, localAddress = '127.0.0.1'): http2.ClientHttp2Session {
    const options: http2.ClientSessionOptions & { strictSingleValueFields: boolean } = {
      // A test may send a header twice.
      strictSingleValueFields: false,
      createConnection: () => connectTcp({ port, host: '127.0.0.1', localAddress }),
    };
    const session = http2.connect(`http://127.0.0.1:${port}`, options);
    session.on('error', () => {});
    cleanUps.push(() => session.destroy());
    return session;
  }

  const closed = (session: http2.ClientHttp2Session) =>
    new Promise<void>((resolve) => {
      if (session.destroyed) resolve();
      else session.once('close', () => resolve());
    });

  /** With which code. */
  const over = (stream: http2.ClientHttp2Stream | undefined) =>
    new Promise<number | undefined>((resolve) => {
      if (stream === undefined || stream.closed) resolve(stream?.rstCode);
      else stream.once('close', () => resolve(stream.rstCode));
    });

  interface Answer {
    readonly status: number;
    readonly message: string;
  }

  /** Sends these bytes as a call and leaves it open for more. */
  function begin(session: http2.ClientHttp2Session, bytes: Buffer, headers: http2.OutgoingHttpHeaders = {}) {
    const request = session.request({
      ':method': 'POST',
      ':path': createCertificate.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const answer = new Promise<Answer>((resolve, reject) => {
      const note = (received: http2.IncomingHttpHeaders) => {
        if (received['grpc-status'] === undefined) return;
        const message = decodeURIComponent(String(received['grpc-message'] ?? ''));
        resolve({ status: Number(received['grpc-status']), message });
      };
      request.on('response', note).on('trailers', note).on('error', reject);
      request.on('close', () => reject(new Error(`closed with ${request.rstCode}`)));
    });
    answer.catch(() => {});
    request.resume();
    request.write(bytes);
    return { request, answer };
  }

  function call(session: http2.ClientHttp2Session, bytes: Buffer, headers: http2.OutgoingHttpHeaders = {}) {
    const { request, answer } = begin(session, bytes, headers);
    request.end();
    return answer;
  }

  const framed = (bytes: Buffer, { compressed = false, length = bytes.length } = {}) => {
    const head = Buffer.alloc(5);
    head.writeUInt8(compressed ? 1 : 0, 0);
    head.writeUInt32BE(length, 1);
    return Buffer.concat([head, bytes]);
  };
  const request = framed(createCertificate.serialize(create(IstioCertificateRequestSchema, { csr: 'x' })));
  const known = { authorization: token };
  const tokens = (count: number) => Array.from({ length: count }, () => ['authorization', token]).flat();

  it('R37 says why, and what helps, before the message has come', async () => {
    const session = dial(await listen());
    const { answer } = begin(session, request.subarray(0, 3));
    deepStrictEqual(await answer, { status: statusCodes.UNAUTHENTICATED, message: 'No token. Bring one: it is free.' });
    deepStrictEqual(await call(session, request, known), { status: 0, message: '' });
    strictEqual(received.length, 1);
  });

  it('R37 has room for so many connections of an address, and for who comes last among those not let in', async () => {
    const limits = { unauthenticated: { each: 2, all: 100 }, connections: { each: 3, all: 100 } };
    const port = await listen({ ...limits, admissionMs: 60_000 });
    const [first, second, third] = [dial(port), dial(port), dial(port)];
    await closed(first);
    for (const session of [second, third]) strictEqual((await call(session, request, known)).status, 0);
    const fourth = dial(port);
    strictEqual((await call(fourth, request)).status, statusCodes.UNAUTHENTICATED);
    await closed(dial(port));
    strictEqual((await call(fourth, request)).status, statusCodes.UNAUTHENTICATED, 'the limit of all ends nobody');
    third.destroy();
    await closed(third);
    strictEqual((await call(second, request, known)).status, 0);
  });

  it('R37 lets an honest caller in while others come again and again and hold every place', async () => {
    const port = await listen({ unauthenticated: { each: 4, all: 8 } });
    const flood = ['127.0.0.2', '127.0.0.3', '127.0.0.4'].map((localAddress) => {
      const again = () => {
        const socket = connectTcp({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
        cleanUps.push(() => socket.off('close', again).destroy());
        socket.resume().once('close', again);
      };
      return again;
    });
    for (const again of flood) for (let times = 0; times < 4; times++) again();
    const honest = dial(port);
    for (let calls = 0; calls < 20; calls++) strictEqual((await call(honest, request, known)).status, 0);
  });

  it('R37 closes the connections of an address that comes, or is refused, too often, and of no other', async () => {
    const newConnections = { burst: 3, perSecond: 0.001 };
    const port = await listen({ newConnections, refusals: { burst: 2, perSecond: 0.001 } });
    const [first, second] = [dial(port, '127.0.0.2'), dial(port, '127.0.0.2')];
    for (let calls = 0; calls < 2; calls++) {
      strictEqual((await call(first, request)).status, statusCodes.UNAUTHENTICATED);
    }
    strictEqual((await call(second, request, known)).status, 0);
    await rejects(call(first, request));
    await closed(first);
    strictEqual((await call(second, request, known)).status, 0, 'one on which somebody was let in stays');
    strictEqual((await call(dial(port, '127.0.0.2'), request, known)).status, 0);
    await closed(dial(port, '127.0.0.2'));
    strictEqual((await call(dial(port), request, known)).status, 0);
  });

  it('R37 looks at one call after another while nobody was let in, and at none after one too many', async () => {
    const port = await listen({ refusals: { burst: 4, perSecond: 0.001 } });
    const session = dial(port);
    const answers = await Promise.allSettled(Array.from({ length: 50 }, () => call(session, request)));
    strictEqual(mostLooking, 1);
    ok(answers.filter(({ status }) => status === 'fulfilled').length <= 4);
    const other = dial(await listen());
    strictEqual((await call(other, request, known)).status, 0);
    await Promise.all(Array.from({ length: 10 }, () => call(other, request, known)));
    ok(mostLooking > 1, 'who was let in is not kept waiting');
  });

  it('R37 ends a call that it has answered, whatever its caller still wants to send', async () => {
    const session = dial(await listen());
    const refused = begin(session, request.subarray(0, 3));
    strictEqual((await refused.answer).status, statusCodes.UNAUTHENTICATED);
    strictEqual(await over(refused.request), http2.constants.NGHTTP2_NO_ERROR);
    const long = begin(session, framed(Buffer.alloc(8), { length: 1025 }), known);
    strictEqual((await long.answer).status, statusCodes.RESOURCE_EXHAUSTED);
    strictEqual(await over(long.request), http2.constants.NGHTTP2_NO_ERROR);
  });

  it('R38 holds so many open calls of one caller, on however many connections', async () => {
    const port = await listen({ openCalls: 2 });
    const sessions = [dial(port), dial(port), dial(port)];
    const [first, second, third] = sessions.map((session) => begin(session, request.subarray(0, 3), known));
    strictEqual((await third?.answer)?.status, statusCodes.RESOURCE_EXHAUSTED);
    first?.request.end(request.subarray(3));
    strictEqual((await first?.answer)?.status, 0);
    const [last] = sessions;
    ok(last);
    strictEqual((await call(last, request, known)).status, 0, 'its share is free again');
    second?.request.close();
    await over(second?.request);
    strictEqual((await call(last, request, known)).status, 0);
  });

  it('R38 waits so long for the message of a call, and gives its share back', async () => {
    const session = dial(await listen({ openCalls: 1, readWithinMs: 200 }));
    const slow = begin(session, request.subarray(0, 3), known);
    strictEqual((await slow.answer).status, statusCodes.DEADLINE_EXCEEDED);
    await over(slow.request);
    strictEqual((await call(session, request, known)).status, 0);
  });

  it('R37 keeps to the time a caller gives a call, and prints nothing about an absurd one', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    cleanUps.push(() => process.off('warning', note));
    const session = dial(await listen());
    const headers = (time: string) => ({ ...known, 'grpc-timeout': time });
    strictEqual((await call(session, request, headers('99999999H'))).status, 0);
    strictEqual((await call(session, request, headers('soon'))).status, statusCodes.INVALID_ARGUMENT);
    const { answer } = begin(session, request.subarray(0, 3), headers('100m'));
    strictEqual((await answer).status, statusCodes.DEADLINE_EXCEEDED);
    deepStrictEqual(warnings, []);
  });

  it('R37 takes several tokens for none', async () => {
    const session = dial(await listen());
    const headers = [':method', 'POST', ':path', createCertificate.path, ':scheme', 'http', ':authority', 'a'];
    const stream = session.request([...headers, 'content-type', 'application/grpc', ...tokens(2)]);
    const answered = new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once('response', resolve));
    stream.end(request);
    strictEqual(Number((await answered)['grpc-status']), statusCodes.UNAUTHENTICATED);
  });

  it('answers a call of something else by saying so', async () => {
    const session = dial(await listen());
    for (const headers of [{ ':path': '/' }, { ':method': 'PUT' }, { 'content-type': 'application/grpc+json' }]) {
      strictEqual((await call(session, request, { ...known, ...headers })).status, statusCodes.UNIMPLEMENTED);
    }
  });

  it('R37 closes a connection on which nobody is let in, in time, and no other', async () => {
    const port = await listen({ admissionMs: 200 });
    const [stranger, friend] = [dial(port), dial(port)];
    strictEqual((await call(friend, request, known)).status, 0);
    strictEqual((await call(stranger, request)).status, statusCodes.UNAUTHENTICATED);
    await closed(stranger);
    strictEqual((await call(friend, request, known)).status, 0);
  });

  /** Resolves when the server has closed a connection on which this was sent, and nothing else. */
  function closedAfter(port: number, bytes: Buffer): Promise<void> {
    const socket = connectTcp(port, '127.0.0.1');
    cleanUps.push(() => socket.destroy());
    socket.on('error', () => {}).resume();
    socket.write(bytes);
    return new Promise((resolve) => socket.once('close', () => resolve()));
  }

  it('R37 closes a connection that says nothing', async () => {
    await closedAfter(await listen({ admissionMs: 200 }), Buffer.alloc(0));
  });

  it('R37 goes on after a call whose authority is none', async () => {
    const session = dial(await listen());
    for (const authority of ['a:99999', '[', '%', 'a b']) {
      await call(session, request, { ...known, ':authority': authority }).catch(() => {});
      strictEqual((await call(session, request, known)).status, 0);
    }
  });

  it('R37 closes the connection of a peer that stays open for its part, and its own end is not held up by it', async () => {
    const port = await listen({ ageMs: 100, graceMs: 100 });
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    const socket = connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true });
    cleanUps.push(() => socket.destroy());
    socket.on('error', () => {}).resume();
    const over = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]));
    const writing = setInterval(() => socket.write(settings), 20);
    cleanUps.push(() => clearInterval(writing));
    await over;
  });

  it('R37 does not call a connection idle on which a call is open', async () => {
    const session = dial(await listen({ idleMs: 200 }));
    const { request: open } = begin(session, request.subarray(0, 3), known);
    const other = dial(await listen({ idleMs: 400 }));
    await closed(other);
    strictEqual(session.closed, false);
    open.close();
    await closed(session);
  });

  it('R37 refuses a long message by its length, before it has come', async () => {
    const session = dial(await listen());
    const { answer } = begin(session, framed(Buffer.alloc(8), { length: 1025 }), known);
    strictEqual((await answer).status, statusCodes.RESOURCE_EXHAUSTED);
    deepStrictEqual(received, []);
  });

  it('R37 takes no compressed message, from anybody', async () => {
    const session = dial(await listen());
    const headers = { ...known, 'grpc-encoding': 'gzip' };
    const answer = await call(session, framed(Buffer.alloc(8), { compressed: true }), headers);
    strictEqual(answer.status, statusCodes.UNIMPLEMENTED);
  });

  it('R37 keeps nothing of a message that it does not know', async () => {
    const session = dial(await listen());
    const unknown = Buffer.alloc(200, Buffer.from([0x78, 0x01]));
    strictEqual((await call(session, framed(unknown), known)).status, 0);
    strictEqual(received[0]?.$unknown, undefined);
  });

  it('R37 closes a connection that is idle, and one that does not answer a ping', async () => {
    const idle = dial(await listen({ idleMs: 200 }));
    strictEqual((await call(idle, request, known)).status, 0);
    await closed(idle);
    const port = await listen({ pingMs: 50, pongMs: 200 });
    const alive = dial(port);
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    await closedAfter(port, Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]));
    strictEqual((await call(alive, request, known)).status, 0);
  });

  it('R37 sends a connection that is old away in order', async () => {
    const session = dial(await listen({ ageMs: 200 }));
    const left = new Promise<number>((resolve) => session.once('goaway', resolve));
    strictEqual((await call(session, request, known)).status, 0);
    strictEqual(await left, http2.constants.NGHTTP2_NO_ERROR);
    await closed(session);
    ok(session.closed);
  });
});
