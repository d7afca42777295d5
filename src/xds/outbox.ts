/**
 * What one stream has to send, as the sequence that its transport takes: an item is taken out when the transport has room for it,
 * and has left when the transport asks for the next. `flushed` is called once for each item: when it has left, or is dropped.
 */
export class Outbox<T> implements AsyncIterable<T> {
  readonly #items: { readonly item: T; readonly flushed: () => void }[] = [];
  #ending: { readonly error: unknown } | undefined;
  #wake = () => {};
  #isBlocked = false;

  /** Whether the transport has an item that has not left. */
  get isBlocked(): boolean {
    return this.#isBlocked;
  }

  put(item: T, flushed: () => void): void {
    if (this.#ending === undefined) this.#items.push({ item, flushed });
    else flushed();
    this.#wake();
  }

  /** Nothing is sent after this; an error is what the sequence ends with. */
  end(error?: unknown): void {
    this.#ending ??= { error };
    for (const { flushed } of this.#items.splice(0)) flushed();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    while (this.#ending === undefined) {
      const next = this.#items.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      this.#isBlocked = true;
      try {
        yield next.item;
      } finally {
        this.#isBlocked = false;
        next.flushed();
      }
    }
    if (this.#ending.error !== undefined) throw this.#ending.error;
  }
}
