/** Time as a test can hold it. `after` returns how to call it off; `now` is in ms. */
export interface Timers {
  readonly after: (ms: number, action: () => void) => () => void;
  readonly now: () => number;
}

export interface BatcherOptions {
  readonly flush: () => void;
  /** A change waits so long for company, ms. */
  readonly quietMs?: number;
  /** But no change waits longer than this, ms. */
  readonly maxMs?: number;
  readonly timers?: Timers;
}

const systemTimers: Timers = {
  after: (ms, action) => {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  now: () => performance.now(),
};

/** Joins changes that come in a burst into one flush. */
export class Batcher {
  readonly #flush: () => void;
  readonly #quietMs: number;
  readonly #maxMs: number;
  readonly #timers: Timers;
  #callOff: (() => void) | undefined;
  #since: number | undefined;

  constructor({ flush, quietMs = 10, maxMs = 100, timers = systemTimers }: BatcherOptions) {
    this.#flush = flush;
    this.#quietMs = quietMs;
    this.#maxMs = maxMs;
    this.#timers = timers;
  }

  /** Something changed. */
  touch(): void {
    const now = this.#timers.now();
    this.#since ??= now;
    this.#callOff?.();
    const waitMs = Math.min(this.#quietMs, this.#since + this.#maxMs - now);
    this.#callOff = this.#timers.after(Math.max(waitMs, 0), () => this.flushNow());
  }

  flushNow(): void {
    this.stop();
    this.#flush();
  }

  /** Forgets what waits. */
  stop(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#since = undefined;
  }
}
