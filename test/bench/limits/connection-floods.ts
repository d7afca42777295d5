/**
 * Floods of the port of tulle-control, each in a thread of its own, from loopback addresses of its own, so that honest callers
 * share neither with them. Bounded in connections and in calls at once.
 */
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import { createCertificate } from '../../fixtures/grpc/methods.ts';
import type { Flood } from './measure.ts';

type Kind = 'gzip bombs' | 'half-open connections' | 'forged tokens' | 'open calls of one tenant';

interface Order {
  readonly kind: Kind;
  readonly port: number;
  /** Of the tenant, or the one that is forged. */
  readonly token: string;
}

const addresses = Array.from({ length: 8 }, (_, index) => `127.0.0.${index + 2}`);

/** @param token of a pod that may call tulle-control */
export function connectionFloods(port: number, token: string): Flood[] {
  const kinds: readonly Kind[] = ['gzip bombs', 'half-open connections', 'forged tokens', 'open calls of one tenant'];
  return kinds.map((kind) => ({
    name: kind,
    async start() {
      const order: Order = { kind, port, token };
      const worker = new Worker(new URL(import.meta.url), { workerData: order });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      return async () => void (await worker.terminate());
    },
  }));
}

if (!isMainThread) {
  const order: Order = workerData;
  begin(order);
  parentPort?.postMessage('begun');
}

function begin(order: Order): void {
  for (const address of addresses) {
    if (order.kind === 'half-open connections') {
      for (let socket = 0; socket < 64; socket++) keepOpen(order.port, address);
    } else {
      for (let session = 0; session < 4; session++) keepCalling(order, address);
    }
  }
}

/** Connections without a handshake, and again when they are closed. */
function keepOpen(port: number, localAddress: string): void {
  dial(port, localAddress)
    .resume()
    .once('close', () => setTimeout(() => keepOpen(port, localAddress), 100));
}

/** Calls on one connection, and on another one when it is closed. */
function keepCalling(order: Order, localAddress: string): void {
  const { port } = order;
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    createConnection: () =>
      connectTls({ socket: dial(port, localAddress), rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
  });
  session.on('error', () => {});
  session.once('close', () => setTimeout(() => keepCalling(order, localAddress), 100));
  session.once('connect', () => {
    for (let call = 0; call < 100; call++) keepOneCall(session, order);
  });
}

/** One call after another. */
function keepOneCall(session: http2.ClientHttp2Session, order: Order): void {
  if (session.destroyed || session.closed) return;
  const { headers, bytes, isWhole } = callOf(order);
  const stream = session.request({
    ':method': 'POST',
    ':path': createCertificate.path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => {}).resume();
  stream.once('close', () => setImmediate(() => keepOneCall(session, order)));
  if (isWhole) stream.end(bytes);
  else stream.write(bytes);
}

function dial(port: number, localAddress: string): Socket {
  return connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
}

interface FloodCall {
  readonly headers: http2.OutgoingHttpHeaders;
  readonly bytes: Buffer;
  /** Whether the caller says that nothing more comes. */
  readonly isWhole: boolean;
}

/** 4 Mi fields in 8 kB. */
const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024, Buffer.from([0x78, 0x01])));
const bombMessage = Buffer.concat([headOf(bomb.length, true), bomb]);
let forged = 0;

function callOf({ kind, token }: Order): FloodCall {
  if (kind === 'gzip bombs') return { headers: { 'grpc-encoding': 'gzip' }, bytes: bombMessage, isWhole: true };
  if (kind === 'forged tokens') {
    forged += 1;
    const [head, claims] = token.split('.');
    const signature = Buffer.alloc(256, `${forged} `).toString('base64url');
    const authorization = `Bearer ${head}.${claims}.${signature}`;
    return { headers: { authorization }, bytes: headOf(0, false), isWhole: true };
  }
  // All but the last byte.
  const bytes = Buffer.concat([headOf(30_000, false), Buffer.alloc(29_999)]);
  return { headers: { authorization: `Bearer ${token}`, padding: 'x'.repeat(12_000) }, bytes, isWhole: false };
}

function headOf(length: number, isCompressed: boolean): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(isCompressed ? 1 : 0, 0);
  head.writeUInt32BE(length, 1);
  return head;
}
