import type { ServerHttp2Session } from 'node:http2';
import { StatusError } from './status.ts';

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

/** What a connection tells of itself. */
export interface ConnectionEvents {
  /** A call was let in, for the first time. */
  authenticated(): void;
  /** A call was refused. */
  refused(): void;
  /** Whether calls of this address may be refused once more. */
  mayBeRefused(): boolean;
  /** Its socket is to be ended at once. */
  cut(): void;
}

/**
 * One HTTP/2 connection to this server, from its first frame on:
 *
 *   UNAUTHENTICATED ── a call is let in ──► AUTHENTICATED ── GOAWAY: old, idle, or the server goes away ──► LEAVING ──► cut
 *      │ none within admissionMs,               │ no answer to a ping              too many calls refused    after graceMs
 *      ▼ too many calls refused                 ▼
 *     cut                                      cut
 *
 * Whether calls are let in is found out one after another while the connection is unauthenticated, or its address was refused
 * too often: when it is one refusal too many, nothing is done for those behind it. All other calls are looked at as they come.
 *
 * What ends it is the end of its socket: Node.js waits for a peer that does not read otherwise, however long.
 */
export class Connection {
  readonly address: string;
  /** The address with the port, for logs. */
  readonly peer: string;
  readonly #session: ServerHttp2Session;
  readonly #limits: ConnectionLimits;
  readonly #events: ConnectionEvents;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #admission: NodeJS.Timeout;
  #idle: NodeJS.Timeout | undefined;
  #streams = 0;
  #isAuthenticated = false;
  #isLeaving = false;
  #isRefusedTooOften = false;
  /** The end of the line of calls that are looked at one after another. */
  #line: Promise<unknown> = Promise.resolve();

  constructor(session: ServerHttp2Session, limits: ConnectionLimits, events: ConnectionEvents) {
    const { remoteAddress = 'unknown', remotePort = 0 } = session.socket;
    this.address = remoteAddress;
    this.peer = `${remoteAddress}:${remotePort}`;
    this.#session = session;
    this.#limits = limits;
    this.#events = events;
    this.#admission = this.#after(limits.admissionMs, () => events.cut());
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
      events.cut();
    });
  }

  /** A call of this connection was let in. */
  markAuthenticated(): void {
    if (this.#isAuthenticated) return;
    this.#isAuthenticated = true;
    this.#stop(this.#admission);
    this.#events.authenticated();
  }

  /**
   * Finds out whether a call is let in, when it is its turn.
   * @throws StatusError UNAVAILABLE when calls before it were refused too often; what `admit` throws
   */
  admit<T>(admit: () => Promise<T>): Promise<T> {
    if (this.#isAuthenticated && this.#events.mayBeRefused()) return admit();
    const admitted = this.#line.then(() => {
      if (this.#isRefusedTooOften) throw new StatusError('UNAVAILABLE', 'this connection takes no more calls');
      return admit();
    });
    this.#line = admitted.catch(() => {});
    return admitted;
  }

  /** A call of this connection was refused for who its caller is, or for how many it has open. */
  noteRefusal(): void {
    if (!this.#events.mayBeRefused()) {
      this.#isRefusedTooOften = true;
      // To answer a hundred calls of nobody costs more than to end their connection.
      if (this.#isAuthenticated) this.leave();
      else this.#events.cut();
    }
    this.#events.refused();
  }

  /** Takes no more calls; those that are open may end in order. */
  leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    if (!this.#session.closed) this.#session.close();
    this.#after(this.#limits.graceMs, () => this.#events.cut());
  }

  #ping(): void {
    if (this.#session.destroyed) return;
    const late = this.#after(this.#limits.pongMs, () => this.#events.cut());
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
