/**
 * The keys a controller has still to look at. A key is in it at most once, however often it was added; it is handed
 * to one worker at a time, and when it is added while a worker has it, it comes again after that. Adding is cheap and
 * never blocks, so a standby replica just lets keys gather (no more than there are objects).
 */

import { type Clock, systemClock } from '../clock.ts';
import { Backoff } from './backoff.ts';

export interface WorkQueueOptions {
  /** First wait after a failure, ms; doubled for each further one of the same key. */
  baseMs?: number;
  maxMs?: number;
  clock?: Clock;
  random?: () => number;
}

interface Delayed {
  dueAt: number;
  cancel: AbortController;
}

interface Waiter {
  give: (key: string | undefined) => void;
}

export class WorkQueue {
  readonly #clock: Clock;
  readonly #newBackoff: () => Backoff;
  readonly #ready = new Set<string>();
  readonly #taken = new Set<string>();
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #waiters = new Set<Waiter>();
  #idle: PromiseWithResolvers<void> | undefined;
  #closed = false;

  constructor(options: WorkQueueOptions = {}) {
    const { baseMs = 100, maxMs = 60_000, clock = systemClock, random = Math.random } = options;
    this.#clock = clock;
    this.#newBackoff = () => new Backoff({ baseMs, maxMs, random });
  }

  /** Keys that could be taken now. */
  get depth(): number {
    return this.#ready.size;
  }

  /** Keys that wait for their time, or are with a worker. */
  get pending(): number {
    return this.#delayed.size + this.#taken.size;
  }

  /** Asks for `key` to be looked at as soon as a worker is free; an earlier wish for later is void. */
  add(key: string): void {
    if (this.#closed) return;
    this.#cancel(key);
    if (this.#taken.has(key)) {
      this.#again.add(key);
      return;
    }
    this.#ready.add(key);
    this.#serve();
  }

  /** Asks for `key` after `ms`; of several such wishes the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed || this.#ready.has(key) || this.#again.has(key)) return;
    const dueAt = this.#clock.monotonic() + ms;
    const earlier = this.#delayed.get(key);
    if (earlier !== undefined && earlier.dueAt <= dueAt) return;
    this.#cancel(key);
    const delayed = { dueAt, cancel: new AbortController() };
    this.#delayed.set(key, delayed);
    void this.#clock.sleep(ms, delayed.cancel.signal).then(() => {
      if (this.#delayed.get(key) === delayed) this.add(key);
    });
  }

  /** Counts a failure of `key` and asks for it again after its backoff, which it returns, ms. */
  retry(key: string): number {
    const backoff = this.#backoffs.get(key) ?? this.#newBackoff();
    this.#backoffs.set(key, backoff);
    const ms = backoff.next();
    this.addAfter(key, ms);
    return ms;
  }

  /** The next failure of `key` starts from the shortest wait again. */
  forget(key: string): void {
    this.#backoffs.delete(key);
  }

  /**
   * The next key, once there is one; undefined when the signal aborts or the queue is closed. Say `done` afterwards.
   */
  take(signal: AbortSignal): Promise<string | undefined> {
    return new Promise((resolve) => {
      const abort = () => waiter.give(undefined);
      const waiter: Waiter = {
        give: (key) => {
          this.#waiters.delete(waiter);
          signal.removeEventListener('abort', abort);
          resolve(key);
        },
      };
      if (signal.aborted || this.#closed) {
        resolve(undefined);
        return;
      }
      signal.addEventListener('abort', abort, { once: true });
      this.#waiters.add(waiter);
      this.#serve();
    });
  }

  /** The worker is through with `key`. */
  done(key: string): void {
    this.#taken.delete(key);
    if (this.#again.delete(key)) this.add(key);
    this.#reportIdle();
  }

  /** Resolves when no key waits for a worker or is with one; those that wait for their time do not count. */
  idle(): Promise<void> {
    this.#idle ??= Promise.withResolvers<void>();
    const { promise } = this.#idle;
    this.#reportIdle();
    return promise;
  }

  /** Nothing is added or handed out any more, no timer is left. */
  close(): void {
    this.#closed = true;
    for (const key of [...this.#delayed.keys()]) this.#cancel(key);
    this.#ready.clear();
    this.#again.clear();
    for (const waiter of [...this.#waiters]) waiter.give(undefined);
    this.#reportIdle();
  }

  #reportIdle(): void {
    if (this.#ready.size > 0 || this.#taken.size > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  #cancel(key: string): void {
    const delayed = this.#delayed.get(key);
    this.#delayed.delete(key);
    delayed?.cancel.abort();
  }

  #serve(): void {
    for (const waiter of [...this.#waiters]) {
      const [key] = this.#ready;
      if (key === undefined) return;
      this.#ready.delete(key);
      this.#taken.add(key);
      waiter.give(key);
    }
  }
}
