/** How long to wait between attempts: all durations in milliseconds. */
export interface BackoffOptions {
  /** The first wait. */
  baseMs: number;
  /** No wait is longer. */
  maxMs: number;
  /** Uniform in [0, 1). */
  random?: () => number;
}

/**
 * Exponential backoff with jitter: the n-th wait is uniform in the upper half of `min(max, base·2ⁿ)`, so waits grow,
 * and many clients that lost the same server do not come back in step.
 */
export class Backoff {
  readonly #base: number;
  readonly #max: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({ baseMs, maxMs, random = Math.random }: BackoffOptions) {
    this.#base = baseMs;
    this.#max = maxMs;
    this.#random = random;
  }

  /** Failures since the last `reset`. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts one more failure and says how long to wait, ms. */
  next(): number {
    const ceiling = Math.min(this.#max, this.#base * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return ceiling / 2 + (ceiling / 2) * this.#random();
  }

  reset(): void {
    this.#failures = 0;
  }
}
