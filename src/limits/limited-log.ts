import type { Log } from '../telemetry/log.ts';
import { TokenBucket } from './token-bucket.ts';

/** Lines at once, and a second after that. */
const burst = 20;
const perSecond = 2;

/**
 * Warnings that strangers can cause: more than a few are left out, and the next one says how many were. Nobody fills a disk, or
 * hides what else happens, by being refused.
 */
export class LimitedLog {
  readonly #log: Pick<Log, 'warn'>;
  readonly #now: () => number;
  readonly #bucket: TokenBucket;
  #left = 0;

  /** @param now ms, never going back */
  constructor(log: Pick<Log, 'warn'>, now: () => number = performance.now.bind(performance)) {
    this.#log = log;
    this.#now = now;
    this.#bucket = new TokenBucket(burst, perSecond, now());
  }

  warn(fields: object, message: string): void {
    if (!this.#bucket.spend(this.#now())) {
      this.#left += 1;
      return;
    }
    this.#log.warn(this.#left === 0 ? fields : { ...fields, leftOut: this.#left }, message);
    this.#left = 0;
  }
}
