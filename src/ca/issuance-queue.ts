import { TulleError } from '../errors/tulle-error.ts';

/** How much goes on at once, and how much may wait. */
export interface IssuanceLimits {
  readonly running: number;
  readonly waiting: number;
}

/**
 * Lets so many tasks run at once and so many wait, in order; more are refused at once, so that a burst costs bounded memory and
 * those who are served are served in time.
 */
export class IssuanceQueue {
  readonly #limits: IssuanceLimits;
  readonly #overloaded: () => TulleError;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** @param overloaded what is thrown when as many wait as may */
  constructor(limits: IssuanceLimits, overloaded: () => TulleError = issuanceOverloaded) {
    this.#limits = limits;
    this.#overloaded = overloaded;
  }

  /** @throws TulleError IssuanceOverloaded, or what takes its place, when as many wait as may; and whatever the task throws */
  async run<T>(task: () => Promise<T>): Promise<T> {
    await this.#turn();
    try {
      return await task();
    } finally {
      this.#leave();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running < this.#limits.running) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= this.#limits.waiting) throw this.#overloaded();
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The place goes to the next in line, or is given up. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running -= 1;
    else next();
  }
}

function issuanceOverloaded(): TulleError {
  return new TulleError('IssuanceOverloaded', 'This replica has as many certificates to sign as it takes on.', {
    mend: 'Try again later, with jitter.',
  });
}
