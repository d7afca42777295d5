import { unreadBytes } from './metrics.ts';

/** How much may be on its way to clients, bytes: of all together, and of one beyond its first response. Times in ms. */
export interface SendLimits {
  readonly all: number;
  readonly each: number;
  /** Up to so many bytes, a response does not wait behind larger ones. */
  readonly small: number;
  /** A response that has not left within this is given up as soon as another one waits for its room. */
  readonly stallMs: number;
}

export const defaultSendLimits: SendLimits = {
  all: 256 * 1024 * 1024,
  each: 4 * 1024 * 1024,
  small: 256 * 1024,
  stallMs: 10_000,
};

/** One response. */
export interface Send {
  /** Whose it is: all responses with the same client count together. */
  readonly client: string;
  readonly bytes: number;
  /** It may leave now. */
  begin(): void;
  /** Its client does not read, and others wait: whoever hears this ends it, and says when its memory is free. */
  stalled(): void;
}

/**
 * Caps the memory of responses that clients have not read yet, over all streams. When all proxies of a large mesh reconnect
 * together they are served one after another instead of all being buffered; those that do not read make room for the others.
 *
 *   WAITING ── there is room ──► SENDING ── left, or dropped ──► over
 *      └── its stream ends ──► over  └── stallMs, and others wait ──► stalled() ── dropped ──► over
 */
export class SendBudget {
  readonly #limits: SendLimits;
  readonly #waiting = new Set<Send>();
  /** The oldest first. The value is whether it has taken longer than it may where others wait. */
  readonly #sending = new Map<Send, { isLate: boolean; isGivenUp: boolean; readonly timer: NodeJS.Timeout }>();
  readonly #held = new Map<string, number>();
  #all = 0;

  constructor(limits: SendLimits = defaultSendLimits) {
    this.#limits = limits;
  }

  /** Bytes on their way. */
  get held(): number {
    return this.#all;
  }

  /** Begins it at once or later. */
  enter(send: Send): void {
    const isSmall = send.bytes <= this.#limits.small;
    if (this.#fits(send) && (isSmall || !this.#isAnyNext())) this.#begin(send);
    else {
      this.#waiting.add(send);
      this.#giveUpLate();
    }
  }

  /** It has left, was dropped, or waits no longer; again does nothing. */
  leave(send: Send): void {
    if (this.#waiting.delete(send)) return;
    const state = this.#sending.get(send);
    if (state === undefined) return;
    clearTimeout(state.timer);
    this.#sending.delete(send);
    this.#count(send.client, -send.bytes);
    for (const next of [...this.#waiting]) {
      if (!this.#fits(next) || !this.#waiting.delete(next)) continue;
      this.#begin(next);
    }
  }

  /** One response of a client, and one of all, may be larger than any limit. */
  #fits(send: Send): boolean {
    return this.#fitsClient(send) && (this.#all === 0 || this.#all + send.bytes <= this.#limits.all);
  }

  #fitsClient({ client, bytes }: Send): boolean {
    const held = this.#held.get(client) ?? 0;
    return held === 0 || held + bytes <= this.#limits.each;
  }

  /** Whether one that waits, and not for others of its own client, would be overtaken. */
  #isAnyNext(): boolean {
    for (const send of this.#waiting) if (this.#fitsClient(send)) return true;
    return false;
  }

  #begin(send: Send): void {
    const state = {
      isLate: false,
      isGivenUp: false,
      timer: setTimeout(() => {
        state.isLate = true;
        this.#giveUpLate();
      }, this.#limits.stallMs).unref(),
    };
    this.#sending.set(send, state);
    this.#count(send.client, send.bytes);
    send.begin();
  }

  #giveUpLate(): void {
    if (this.#waiting.size === 0) return;
    for (const [send, state] of [...this.#sending]) {
      if (!state.isLate || state.isGivenUp) continue;
      state.isGivenUp = true;
      send.stalled();
    }
  }

  #count(client: string, bytes: number): void {
    const held = (this.#held.get(client) ?? 0) + bytes;
    if (held === 0) this.#held.delete(client);
    else this.#held.set(client, held);
    this.#all += bytes;
    unreadBytes.set(this.#all);
  }
}
