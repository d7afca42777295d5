import type { Clock } from './clock.ts';

/** Values that are good until a time, at most so many: the one set longest ago makes room. */
export class ExpiringCache<T> {
  readonly #entries = new Map<string, { readonly value: T; readonly until: number }>();
  readonly #size: number;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(size: number, clock: Pick<Clock, 'now'>) {
    this.#size = size;
    this.#clock = clock;
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (this.#clock.now() < entry.until) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  /** @param until ms since the epoch, exclusive */
  set(key: string, value: T, until: number): void {
    this.#entries.delete(key);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size >= this.#size && oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(key, { value, until });
  }
}
