/**
 * Lets a limited number through at once; the others wait in the order they came. For large responses: when all proxies
 * of a large mesh reconnect together, they are served one after another instead of all being buffered.
 */
export class Gate {
  readonly #width: number;
  #inside = 0;
  readonly #waiting = new Set<() => void>();

  constructor(width: number) {
    this.#width = width;
  }

  /** Runs `enter` at once or later. Returns how to leave, or to stop waiting; calling it again does nothing. */
  enter(enter: () => void): () => void {
    const visit = () => {
      this.#inside++;
      enter();
    };
    let left = false;
    const leave = () => {
      if (left) return;
      left = true;
      if (!this.#waiting.delete(visit)) this.#leave();
    };
    if (this.#inside < this.#width) visit();
    else this.#waiting.add(visit);
    return leave;
  }

  #leave(): void {
    this.#inside--;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    next();
  }
}
