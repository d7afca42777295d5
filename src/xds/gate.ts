/**
 * Lets a limited number through at once; the others wait in the order they came. For large responses: when all proxies
 * of a large mesh reconnect together, they are served one after another instead of all being buffered. Whoever stays longer
 * than a visit lasts (a client that does not read) is not waited for.
 */
export class Gate {
  readonly #width: number;
  readonly #visitMs: number;
  #inside = 0;
  readonly #waiting = new Set<() => void>();

  constructor(width: number, visitMs: number) {
    this.#width = width;
    this.#visitMs = visitMs;
  }

  /** Runs `enter` at once or later. Returns how to leave, or to stop waiting; calling it again does nothing. */
  enter(enter: () => void): () => void {
    let left = false;
    let timer: NodeJS.Timeout | undefined;
    const leave = () => {
      if (left) return;
      left = true;
      clearTimeout(timer);
      if (!this.#waiting.delete(visit)) this.#leave();
    };
    const visit = () => {
      this.#inside++;
      timer = setTimeout(leave, this.#visitMs).unref();
      enter();
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
