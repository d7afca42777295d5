/**
 * One controller: the keys it has to look at, and the workers that do.
 *
 * While this replica does not lead, keys only gather. When it leads, `run` first asks for everything there is, so
 * nothing that changed under another leader is missed; then each worker takes a key, reconciles it, and takes the
 * next. A pass that throws is logged once, here, and comes again after the key's own backoff; other keys do not wait
 * for it.
 */

import type { Log } from '../../telemetry/log.ts';
import { isConflict } from '../client/api-error.ts';
import type { Clock } from '../clock.ts';
import { reconcileSeconds, reconcileTotal } from './metrics.ts';
import { type Outcome, type Reconcile, Requeue, type Source } from './reconciler.ts';
import { WorkQueue } from './work-queue.ts';

export interface ControllerOptions {
  name: string;
  reconcile: Reconcile;
  sources: readonly Source[];
  log: Log;
  /** Keys worked on at once. */
  workers?: number;
  clock?: Clock;
  random?: () => number;
}

export class Controller {
  readonly name: string;
  readonly #options: ControllerOptions;
  readonly #queue: WorkQueue;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    const { clock, random } = options;
    this.#queue = new WorkQueue({
      ...(clock === undefined ? {} : { clock }),
      ...(random === undefined ? {} : { random }),
    });
    for (const source of options.sources) source.connect((key) => this.#queue.add(key));
  }

  /** Keys that wait for a worker. */
  get depth(): number {
    return this.#queue.depth;
  }

  /** Works until `signal` aborts, and returns when the last pass has ended. */
  async run(signal: AbortSignal): Promise<void> {
    for (const source of this.#options.sources) {
      for (const key of source.seed()) this.#queue.add(key);
    }
    const workers = Array.from({ length: this.#options.workers ?? 1 }, () => this.#work(signal));
    await Promise.all(workers);
  }

  /** Resolves when there is nothing to look at just now. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Forgets every key and timer; the controller cannot run again. */
  close(): void {
    this.#queue.close();
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      const key = await this.#queue.take(signal);
      if (key === undefined) return;
      const stop = reconcileSeconds.startTimer({ controller: this.name });
      const result = await this.#pass(key, signal);
      stop();
      reconcileTotal.inc({ controller: this.name, result });
      this.#queue.done(key);
    }
  }

  async #pass(key: string, signal: AbortSignal): Promise<'done' | 'requeue' | 'conflict' | 'error'> {
    try {
      return this.#settle(key, await this.#options.reconcile(key, signal));
    } catch (error) {
      if (error instanceof Requeue) return this.#settle(key, error.outcome);
      const waitMs = Math.round(this.#queue.retry(key));
      const fields = { controller: this.name, key, err: error, waitMs };
      if (signal.aborted) this.#options.log.debug(fields, 'a pass was cut short');
      else if (isConflict(error)) this.#options.log.debug(fields, 'the object changed meanwhile');
      else this.#options.log.error(fields, 'a pass failed');
      return isConflict(error) ? 'conflict' : 'error';
    }
  }

  #settle(key: string, outcome: Outcome): 'done' | 'requeue' {
    this.#queue.forget(key);
    if (outcome.kind === 'done') return 'done';
    this.#queue.addAfter(key, outcome.afterMs);
    return 'requeue';
  }
}
