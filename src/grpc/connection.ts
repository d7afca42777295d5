import type { ServerHttp2Session } from 'node:http2';
import { createContextKey } from '@connectrpc/connect';

/** What a connection may cost, and for how long. Times in ms. */
export interface ConnectionLimits {
  /** Within which the TLS handshake must be over. */
  readonly handshakeMs: number;
  /** Within which a call must have been let in. */
  readonly admissionMs: number;
  /** Without a stream. */
  readonly idleMs: number;
  /** Between two pings; and for the answer to one. */
  readonly pingMs: number;
  readonly pongMs: number;
  /** After which it takes no more calls (GOAWAY), and for those it has then. */
  readonly ageMs: number;
  readonly graceMs: number;
}

export const defaultConnectionLimits: ConnectionLimits = {
  handshakeMs: 5_000,
  admissionMs: 10_000,
  idleMs: 5 * 60_000,
  pingMs: 30_000,
  pongMs: 10_000,
  // Longer than any discovery stream lives: what is left then is a client that does not read.
  ageMs: 40 * 60_000,
  graceMs: 30_000,
};

/** The connection a call came on, in the values of its context. */
export const connectionKey = createContextKey<Connection | undefined>(undefined, { description: 'the connection' });

/** How to end the call at once, whether or not its client reads. */
export const cancelKey = createContextKey<(() => void) | undefined>(undefined, { description: 'ends the call' });

/**
 * One HTTP/2 connection to this server, from its first frame on:
 *
 *   STRANGER ── a call is let in ──► KNOWN ── GOAWAY: old, idle, or the server goes away ──► LEAVING ──► cut
 *      └── none within admissionMs ──► cut  └── no answer to a ping ──► cut                    after graceMs
 *
 * What ends it is the end of its socket: Node.js waits for a peer that does not read otherwise, however long.
 */
export class Connection {
  readonly address: string;
  /** The address with the port, for logs. */
  readonly peer: string;
  readonly #session: ServerHttp2Session;
  readonly #limits: ConnectionLimits;
  readonly #onKnown: () => void;
  readonly #cut: () => void;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #admission: NodeJS.Timeout;
  #idle: NodeJS.Timeout | undefined;
  #streams = 0;
  #known = false;
  #leaving = false;

  /** @param cut ends the socket at once */
  constructor(
    session: ServerHttp2Session,
    limits: ConnectionLimits,
    { onKnown, cut }: { onKnown(): void; cut(): void },
  ) {
    const { remoteAddress = 'unknown', remotePort = 0 } = session.socket;
    this.address = remoteAddress;
    this.peer = `${remoteAddress}:${remotePort}`;
    this.#session = session;
    this.#limits = limits;
    this.#onKnown = onKnown;
    this.#cut = cut;
    this.#admission = this.#after(limits.admissionMs, cut);
    this.#after(limits.ageMs, () => this.leave());
    this.#timers.add(setInterval(() => this.#ping(), limits.pingMs).unref());
    this.#idle = this.#after(limits.idleMs, () => this.leave());
    session.on('stream', (stream) => {
      this.#streams += 1;
      this.#stop(this.#idle);
      stream.once('close', () => {
        this.#streams -= 1;
        if (this.#streams === 0 && !session.destroyed) this.#idle = this.#after(limits.idleMs, () => this.leave());
      });
    });
    session.once('close', () => {
      for (const timer of this.#timers) clearTimeout(timer);
      cut();
    });
  }

  /** A call of this connection was let in. */
  known(): void {
    if (this.#known) return;
    this.#known = true;
    this.#stop(this.#admission);
    this.#onKnown();
  }

  /** Takes no more calls; those that are open may end in order. */
  leave(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    if (!this.#session.closed) this.#session.close();
    this.#after(this.#limits.graceMs, this.#cut);
  }

  #ping(): void {
    if (this.#session.destroyed) return;
    const late = this.#after(this.#limits.pongMs, this.#cut);
    this.#session.ping(() => this.#stop(late));
  }

  #after(ms: number, action: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms).unref();
    this.#timers.add(timer);
    return timer;
  }

  #stop(timer: NodeJS.Timeout | undefined): void {
    clearTimeout(timer);
    if (timer !== undefined) this.#timers.delete(timer);
  }
}
