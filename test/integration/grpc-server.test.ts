import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict';
import http2 from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { Code, createContextKey } from '@connectrpc/connect';
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from '../../proto/gen/istio/ca/ca_pb.js';
import { TulleError } from '../../src/errors/tulle-error.ts';
import { guarded } from '../../src/grpc/guarded.ts';
import { GrpcServer, type ServerLimits } from '../../src/grpc/server.ts';
import { silentLog } from '../../src/kube/log.ts';
import { createCertificate } from '../fixtures/grpc/methods.ts';

const callerKey = createContextKey<string | undefined>(undefined);
const token = 'Bearer of-one-who-is-known';

describe('R37 a gRPC server, to whom it does not know', function () {
  this.timeout(30_000);
  const cleanUps: (() => void)[] = [];
  let received: IstioCertificateRequest[];

  beforeEach(() => {
    received = [];
  });

  afterEach(() => {
    for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
  });

  async function listen(limits: Partial<ServerLimits> = {}): Promise<number> {
    const guard = guarded({
      admit: async ({ authorization }) => {
        if (authorization === token) return 'known';
        throw new TulleError('CallerUnauthenticated', 'No token.', { mend: 'Bring one: it is free.' });
      },
      key: callerKey,
      maxMessageBytes: 1024,
    });
    const server = new GrpcServer({
      routes: (router) =>
        router.service(
          IstioCertificateService,
          {
            createCertificate: (request) => {
              received.push(request);
              return create(IstioCertificateResponseSchema, { certChain: ['leaf'] });
            },
          },
          guard,
        ),
      log: silentLog,
      limits,
      insecure: true,
    });
    const port = await server.listen(0, '127.0.0.1');
    cleanUps.push(() => {
      void server.close();
      server.destroy();
    });
    return port;
  }

  function dial(port: number): http2.ClientHttp2Session {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    cleanUps.push(() => session.destroy());
    return session;
  }

  const closed = (session: http2.ClientHttp2Session) =>
    new Promise<void>((resolve) => {
      if (session.destroyed) resolve();
      else session.once('close', () => resolve());
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

  it('says why, and what helps, before the message has come', async () => {
    const session = dial(await listen());
    const { answer } = begin(session, request.subarray(0, 3));
    deepStrictEqual(await answer, { status: Code.Unauthenticated, message: 'No token. Bring one: it is free.' });
    deepStrictEqual(await call(session, request, known), { status: 0, message: '' });
    strictEqual(received.length, 1);
  });

  it('has room for so many connections of an address, of those on which nobody was let in and of all', async () => {
    const port = await listen({ strangers: { each: 2, all: 2 }, connections: { each: 3, all: 3 } });
    const [first, second] = [dial(port), dial(port)];
    for (const session of [first, second]) await call(session, request);
    await closed(dial(port));
    strictEqual((await call(first, request, known)).status, 0);
    const third = dial(port);
    strictEqual((await call(third, request, known)).status, 0, 'the first is no stranger any more');
    await closed(dial(port));
    third.destroy();
    await closed(third);
    await call(second, request);
    const fourth = dial(port);
    strictEqual((await call(fourth, request, known)).status, 0, 'the third has left');
  });

  it('closes a connection on which nobody is let in, in time, and no other', async () => {
    const port = await listen({ admissionMs: 200 });
    const [stranger, friend] = [dial(port), dial(port)];
    strictEqual((await call(friend, request, known)).status, 0);
    strictEqual((await call(stranger, request)).status, Code.Unauthenticated);
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

  it('closes a connection that says nothing', async () => {
    await closedAfter(await listen({ admissionMs: 200 }), Buffer.alloc(0));
  });

  it('goes on after a call whose authority is none', async () => {
    const session = dial(await listen());
    for (const authority of ['a:99999', '[', '%', 'a b']) {
      await rejects(call(session, request, { ':authority': authority }));
    }
    strictEqual((await call(dial(await listen()), request, known)).status, 0);
    strictEqual((await call(session, request, known)).status, 0);
  });

  it('closes the connection of a peer that stays open for its part, and its own end is not held up by it', async () => {
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

  it('does not call a connection idle on which a call is open', async () => {
    const session = dial(await listen({ idleMs: 200 }));
    const { request: open } = begin(session, request.subarray(0, 3), known);
    const other = dial(await listen({ idleMs: 400 }));
    await closed(other);
    strictEqual(session.closed, false);
    open.close();
    await closed(session);
  });

  it('refuses a long message by its length, before it has come', async () => {
    const session = dial(await listen());
    const { answer } = begin(session, framed(Buffer.alloc(8), { length: 1025 }), known);
    strictEqual((await answer).status, Code.ResourceExhausted);
    deepStrictEqual(received, []);
  });

  it('takes no compressed message, from anybody', async () => {
    const session = dial(await listen());
    const headers = { ...known, 'grpc-encoding': 'gzip' };
    const answer = await call(session, framed(Buffer.alloc(8), { compressed: true }), headers);
    strictEqual(answer.status, Code.Unimplemented);
  });

  it('keeps nothing of a message that it does not know', async () => {
    const session = dial(await listen());
    const unknown = Buffer.alloc(200, Buffer.from([0x78, 0x01]));
    strictEqual((await call(session, framed(unknown), known)).status, 0);
    strictEqual(received[0]?.$unknown, undefined);
  });

  it('closes a connection that is idle, and one that does not answer a ping', async () => {
    const idle = dial(await listen({ idleMs: 200 }));
    strictEqual((await call(idle, request, known)).status, 0);
    await closed(idle);
    const port = await listen({ pingMs: 50, pongMs: 200 });
    const alive = dial(port);
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    await closedAfter(port, Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]));
    strictEqual((await call(alive, request, known)).status, 0);
  });

  it('sends a connection that is old away in order', async () => {
    const session = dial(await listen({ ageMs: 200 }));
    const left = new Promise<number>((resolve) => session.once('goaway', resolve));
    strictEqual((await call(session, request, known)).status, 0);
    strictEqual(await left, http2.constants.NGHTTP2_NO_ERROR);
    await closed(session);
    ok(session.closed);
  });
});
