import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { log } from './log.ts';

export interface HttpCall {
  readonly method: string;
  /** The path's segments, decoded; the query is dropped. */
  readonly path: readonly string[];
  readonly body: string;
}

export interface HttpAnswer {
  readonly status: number;
  /** A string is sent as HTML, anything else as JSON. */
  readonly body: unknown;
}

export interface RunningServer {
  readonly port: number;
  /** Takes no new connection, lets the requests in hand finish, resolves when the last is answered. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 64 * 1024;

/** Serves HTTP on all addresses. A handler that throws is answered with 500 and the error's message. */
export async function serveHttp(
  port: number,
  handle: (call: HttpCall) => Promise<HttpAnswer> | HttpAnswer,
): Promise<RunningServer> {
  let draining = false;
  const server = createServer(async (incoming, outgoing) => {
    const answer = await answerTo(incoming, handle);
    if (draining) outgoing.setHeader('connection', 'close');
    send(outgoing, answer);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, resolve);
  });
  return {
    port: portOf(server.address()),
    close: () => {
      draining = true;
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

async function answerTo(
  incoming: IncomingMessage,
  handle: (call: HttpCall) => Promise<HttpAnswer> | HttpAnswer,
): Promise<HttpAnswer> {
  try {
    const body = await readBody(incoming);
    if (body === undefined) return { status: 413, body: { error: 'the body is larger than 64 KiB' } };
    const path = pathSegments(incoming.url ?? '/');
    if (path === undefined) return { status: 400, body: { error: 'the path cannot be decoded' } };
    return await handle({ method: incoming.method ?? 'GET', path, body });
  } catch (err) {
    const text = err instanceof Error ? err.message : String(err);
    log('request failed', { method: incoming.method, url: incoming.url, err: text });
    return { status: 500, body: { error: text } };
  }
}

function pathSegments(url: string): string[] | undefined {
  try {
    const path = url.split('?')[0] ?? '/';
    return path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

async function readBody(incoming: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming) {
    length += chunk.length;
    if (length <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  return length <= MAX_BODY_BYTES ? Buffer.concat(chunks).toString() : undefined;
}

function send(outgoing: ServerResponse, answer: HttpAnswer): void {
  const html = typeof answer.body === 'string';
  const payload = Buffer.from(html ? String(answer.body) : JSON.stringify(answer.body));
  outgoing.writeHead(answer.status, {
    'content-type': html ? 'text/html; charset=utf-8' : 'application/json',
    'content-length': payload.length,
  });
  outgoing.end(payload);
}

function portOf(address: string | AddressInfo | null): number {
  if (address === null || typeof address === 'string') throw new Error('the server has no TCP port');
  return address.port;
}
