/** So many of one thing at once: of one holder, and of all together. */
export interface ShareLimits {
  readonly each: number;
  readonly all: number;
}

/** Counts what each holder has, by a limit for each and one for all. A holder without any is not remembered. */
export class Shares {
  readonly #limits: ShareLimits;
  readonly #held = new Map<string, number>();
  #all = 0;

  constructor(limits: ShareLimits) {
    this.#limits = limits;
  }

  /** Takes one; returns how to give it back (once, whatever it is called), or undefined when there is none left. */
  take(holder: string): (() => void) | undefined {
    const held = this.#held.get(holder) ?? 0;
    if (held >= this.#limits.each || this.#all >= this.#limits.all) return undefined;
    this.#held.set(holder, held + 1);
    this.#all += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#release(holder);
    };
  }

  /** How many are held by all together. */
  get all(): number {
    return this.#all;
  }

  #release(holder: string): void {
    const left = (this.#held.get(holder) ?? 0) - 1;
    if (left <= 0) this.#held.delete(holder);
    else this.#held.set(holder, left);
    this.#all -= 1;
  }
}
