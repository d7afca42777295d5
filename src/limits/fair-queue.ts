import type { TulleError } from '../errors/tulle-error.ts';

/** How much goes on at once, and how much may wait, of all together and of each holder. */
export interface QueueLimits {
  readonly running: number;
  readonly waiting: number;
  readonly waitingEach: number;
}

/**
 * Lets so many tasks run at once and so many wait; more are refused at once, so that a burst costs bounded memory and those who
 * are served are served in time. Holders take turns, each in its own order: one with many tasks keeps no other waiting for
 * longer than one task of each.
 */
export class FairQueue {
  readonly #limits: QueueLimits;
  readonly #overloaded: () => TulleError;
  /** Who waits, the one whose turn is next first. */
  readonly #waiting = new Map<string, (() => void)[]>();
  #waits = 0;
  #running = 0;

  /** @param overloaded what is thrown when as many wait as may */
  constructor(limits: QueueLimits, overloaded: () => TulleError) {
    this.#limits = limits;
    this.#overloaded = overloaded;
  }

  /** @throws TulleError what `overloaded` gives when as many wait as may; and whatever the task throws */
  async run<T>(holder: string, task: () => Promise<T>): Promise<T> {
    await this.#turn(holder);
    try {
      return await task();
    } finally {
      this.#leave();
    }
  }

  async #turn(holder: string): Promise<void> {
    if (this.#running < this.#limits.running) {
      this.#running += 1;
      return;
    }
    const line = this.#waiting.get(holder) ?? [];
    if (this.#waits >= this.#limits.waiting || line.length >= this.#limits.waitingEach) throw this.#overloaded();
    this.#waiting.set(holder, line);
    this.#waits += 1;
    await new Promise<void>((resolve) => line.push(resolve));
  }

  /** The place goes to the next in line, or is given up. */
  #leave(): void {
    const [turn] = this.#waiting;
    if (turn === undefined) {
      this.#running -= 1;
      return;
    }
    const [holder, line] = turn;
    const next = line.shift();
    // To the end of the round, where it has more.
    this.#waiting.delete(holder);
    if (line.length > 0) this.#waiting.set(holder, line);
    this.#waits -= 1;
    next?.();
  }
}
