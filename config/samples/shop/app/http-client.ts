import { Agent, type AgentOptions, type ClientRequest, type RequestOptions, request } from 'node:http';
import type { Duplex } from 'node:stream';

export interface HttpReply {
  readonly status: number;
  readonly body: string;
}

export interface HttpClientOptions {
  /** Keep connections for later requests; without it each request opens its own. */
  readonly keepAlive: boolean;
  /** A kept connection is closed once it is this old, so that load moves to new replicas. Milliseconds. */
  readonly maxConnectionAgeMs: number;
  /** From the start of a request to the last byte of its reply, all attempts together. Milliseconds. */
  readonly timeoutMs: number;
}

/** What a client has done so far. */
export interface HttpClientCounts {
  requests: number;
  connectionsOpened: number;
  connectionsReused: number;
  retriesOnStaleConnection: number;
}

/** Safe to send again when a connection breaks before the reply is complete (RFC 9110 section 9.2.2). */
const IDEMPOTENT_METHODS = ['GET', 'PUT', 'DELETE'] as const;
export type IdempotentMethod = (typeof IDEMPOTENT_METHODS)[number];

/**
 * An HTTP client for idempotent requests. A server may close a kept connection at any moment, also while a request is
 * on its way (RFC 9112 section 9.5), so a request that breaks on a reused connection is sent once more on a new one.
 * A request that breaks on a new connection, runs into its timeout or breaks twice fails: request() rejects.
 */
export class HttpClient {
  readonly counts: HttpClientCounts = {
    requests: 0,
    connectionsOpened: 0,
    connectionsReused: 0,
    retriesOnStaleConnection: 0,
  };
  readonly #options: HttpClientOptions;
  readonly #agent: Agent;
  readonly #freshAgent = new Agent({ keepAlive: false });

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#agent = options.keepAlive
      ? new AgeingAgent({ keepAlive: true, maxFreeSockets: 16 }, options.maxConnectionAgeMs)
      : this.#freshAgent;
  }

  /** Sends a request and reads its whole reply, whatever the status; rejects only when no complete reply came. */
  async request(method: IdempotentMethod, url: string, body?: unknown): Promise<HttpReply> {
    this.counts.requests += 1;
    const signal = AbortSignal.timeout(this.#options.timeoutMs);
    const first = await this.#attempt(method, url, body, { agent: this.#agent, signal });
    if ('reply' in first) return first.reply;
    if (!first.reused || signal.aborted) throw failure(method, url, first.error);
    this.counts.retriesOnStaleConnection += 1;
    const second = await this.#attempt(method, url, body, { agent: this.#freshAgent, signal });
    if ('reply' in second) return second.reply;
    throw failure(method, url, second.error);
  }

  /** Closes the connections that are kept for later. */
  close(): void {
    this.#agent.destroy();
    this.#freshAgent.destroy();
  }

  async #attempt(
    method: IdempotentMethod,
    url: string,
    body: unknown,
    options: { agent: Agent; signal: AbortSignal },
  ): Promise<Attempt> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = payload && { 'content-type': 'application/json', 'content-length': payload.length };
    const requestOptions: RequestOptions = headers ? { ...options, method, headers } : { ...options, method };
    const outgoing = request(url, requestOptions);
    outgoing.on('socket', () => {
      if (outgoing.reusedSocket) this.counts.connectionsReused += 1;
      else this.counts.connectionsOpened += 1;
    });
    try {
      return { reply: await exchange(outgoing, payload) };
    } catch (error) {
      return { error, reused: outgoing.reusedSocket };
    }
  }
}

type Attempt = { readonly reply: HttpReply } | { readonly error: unknown; readonly reused: boolean };

/** Keeps a connection after a reply only while it is young. */
class AgeingAgent extends Agent {
  readonly #maxAgeMs: number;
  readonly #openedAt = new WeakMap<Duplex, number>();

  constructor(options: AgentOptions, maxAgeMs: number) {
    super(options);
    this.#maxAgeMs = maxAgeMs;
  }

  /** Called when a reply is complete; a falsy answer ends the connection. */
  override keepSocketAlive(socket: Duplex): unknown {
    const openedAt = this.#openedAt.get(socket) ?? performance.now();
    this.#openedAt.set(socket, openedAt);
    return performance.now() - openedAt < this.#maxAgeMs && super.keepSocketAlive(socket);
  }
}

function exchange(outgoing: ClientRequest, payload: Buffer | undefined): Promise<HttpReply> {
  return new Promise((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    });
    outgoing.end(payload);
  });
}

function failure(method: string, url: string, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message || cause.name : String(cause);
  return new Error(`${method} ${url}: ${text}`, { cause });
}
