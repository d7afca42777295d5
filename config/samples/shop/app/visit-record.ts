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

/** Counts visits. Those before the first success are the shop still starting, and are not counted. */
export class VisitRecord {
  #since: string | null = null;
  #ok = 0;
  #failed = 0;
  #failures: Failure[] = [];

  succeeded(at: Date): void {
    this.#since ??= at.toISOString();
    this.#ok += 1;
  }

  failed(at: Date, text: string): void {
    if (this.#since === null) return;
    this.#failed += 1;
    this.#failures = [...this.#failures, { at: at.toISOString(), text }].slice(-KEPT_FAILURES);
  }

  get started(): boolean {
    return this.#since !== null;
  }

  counts(): VisitCounts {
    return { since: this.#since, ok: this.#ok, failed: this.#failed, recentFailures: this.#failures };
  }
}
