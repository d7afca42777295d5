export interface Failure {
  /** RFC 3339. */
  readonly at: string;
  readonly text: string;
}

/** The visits so far, as `/stats` shows them. */
export interface VisitCounts {
  /** When the first visit succeeded, RFC 3339; counting begins there. Null before. */
  readonly since: string | null;
  readonly ok: number;
  readonly failed: number;
  /** The last failures, oldest first. */
  readonly recentFailures: readonly Failure[];
}

const KEPT_FAILURES = 20;

/** Counts visits. Those that began before the first success are the shop still starting: they count when they succeed only. */
export class VisitRecord {
  #since: Date | null = null;
  #ok = 0;
  #failed = 0;
  #failures: Failure[] = [];

  succeeded(at: Date): void {
    this.#since ??= at;
    this.#ok += 1;
  }

  failed(begun: Date, at: Date, text: string): void {
    if (this.#since === null || begun < this.#since) return;
    this.#failed += 1;
    this.#failures = [...this.#failures, { at: at.toISOString(), text }].slice(-KEPT_FAILURES);
  }

  get started(): boolean {
    return this.#since !== null;
  }

  counts(): VisitCounts {
    return {
      since: this.#since?.toISOString() ?? null,
      ok: this.#ok,
      failed: this.#failed,
      recentFailures: this.#failures,
    };
  }
}
