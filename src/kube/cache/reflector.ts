/**
 * Keeps a local copy of one collection of the API server.
 *
 *            ┌───────────── error: back off ─────────────┐
 *            ▼                                           │
 *   start ─► LISTING (pages, resourceVersion of the first page) ──► doubtful list (see list-trust.ts): back off, list again
 *            │  complete and believed: the store becomes the list, differences are emitted, synced
 *            ▼
 *   ┌──────► WATCHING from the last resourceVersion
 *   │        │        │
 *   │        │        └─ 410 expired, version too large ──► LISTING
 *   └────────┴─ ended by the server, idle, connection lost (back off)
 *
 * Invariants: the store changes by a believed complete list or a watch event, by nothing else, so a failed, partial
 * or refused list deletes nothing. Handlers see every change of the store once, in order, with the store already
 * changed; one that throws is logged and harms nobody else. An object replaced by another of the same name is
 * `deleted` and `added`.
 */

import type { Log } from '../../telemetry/log.ts';
import { ApiError, isExpired } from '../client/api-error.ts';
import type { KubeClient, Query } from '../client/client.ts';
import { isOlder } from '../client/resource-version.ts';
import type { WatchEvent } from '../client/watch-stream.ts';
import { type Clock, systemClock } from '../clock.ts';
import { Backoff } from '../controller/backoff.ts';
import { type KubeObject, objectKey } from '../objects.ts';
import { reviewList } from './list-trust.ts';
import { Store } from './store.ts';

export type ReflectorEvent<T extends KubeObject> =
  | { type: 'added'; object: T }
  | { type: 'modified'; object: T; old: T }
  | { type: 'deleted'; object: T };

export interface ReflectorOptions<T extends KubeObject> {
  client: Pick<KubeClient, 'list' | 'watch'>;
  /** The collection, for example `/api/v1/pods` or `/api/v1/namespaces/shop/pods`. */
  path: string;
  query?: { fieldSelector?: string; labelSelector?: string };
  log: Log;
  /**
   * Makes an object smaller as it comes, so that of a list one page at a time is there as it was sent. It may change and return
   * its argument, and leaves name, namespace, UID and version in it.
   */
  transform?: (object: T) => T;
  /** How long an empty list over a full store must last to be believed, ms; see list-trust.ts for Infinity. */
  emptyMustLastMs?: number;
  /** Objects a page. */
  pageSize?: number;
  clock?: Clock;
  /** Uniform in [0, 1). */
  random?: () => number;
}

/**
 * The server is asked to end a watch after this long plus as much again at random, s, so that watches do not end in
 * step.
 */
const WATCH_SECONDS = 300;

/** An empty list is doubted for so long where nothing else is said, ms. */
const EMPTY_MUST_LAST_MS = 5_000;

/** A watch that lived so long was a good one: the next failure starts from a short wait again, ms. */
const GOOD_WATCH_MS = 10_000;

/**
 * Longest wait for a server that is away, ms. Until it is over, everybody who is told from this cache is told what was
 * so before; the few processes that have one can afford to ask that often.
 */
const LONGEST_WAIT_MS = 5_000;

export class Reflector<T extends KubeObject> {
  readonly store = new Store<T>();
  readonly path: string;
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #handlers: ((event: ReflectorEvent<T>) => void)[] = [];
  readonly #synced = Promise.withResolvers<void>();
  #hasSynced = false;
  #version: string | undefined;
  #doubtedSince: number | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.path = options.path;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#backoff = new Backoff({ baseMs: 500, maxMs: LONGEST_WAIT_MS, random: this.#random });
    this.#synced.promise.catch(() => {});
  }

  /** Runs until the signal aborts; register handlers before. A second start is an error. */
  start(signal: AbortSignal): void {
    if (this.#running !== undefined) throw new Error(`the reflector of ${this.path} was started twice`);
    this.#running = this.#run(signal);
  }

  /** The resourceVersion up to which events have been emitted; undefined before the first list. */
  get version(): string | undefined {
    return this.#version;
  }

  /** Resolves when the first list has been taken over; rejects when the reflector is stopped before. */
  synced(): Promise<void> {
    return this.#synced.promise;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Resolves when, after the signal, nothing runs any more. */
  async stopped(): Promise<void> {
    await this.#running;
  }

  /** Calls `handler` for each change from now on. */
  onEvent(handler: (event: ReflectorEvent<T>) => void): void {
    this.#handlers.push(handler);
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined || !(await this.#watch(this.#version, signal))) await this.#list(signal);
      } catch (error) {
        if (!signal.aborted) await this.#wait(error, signal);
      }
    }
    this.#synced.reject(new Error(`the reflector of ${this.path} was stopped before it had synced`));
  }

  async #wait(error: unknown, signal: AbortSignal): Promise<void> {
    const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    const waitMs = Math.max(this.#backoff.next(), asked);
    const fields = { path: this.path, err: error, attempt: this.#backoff.failures, waitMs: Math.round(waitMs) };
    this.#options.log.warn(fields, 'cannot list or watch, going on with what is known');
    await this.#clock.sleep(waitMs, signal);
  }

  /** One watch from `version` until it ends. False when only a new list helps. */
  async #watch(version: string, signal: AbortSignal): Promise<boolean> {
    const { client, query } = this.#options;
    const startedAt = this.#clock.monotonic();
    const timeoutSeconds = Math.round(WATCH_SECONDS * (1 + this.#random()));
    try {
      const parameters = { ...query, resourceVersion: version, allowWatchBookmarks: true, timeoutSeconds };
      for await (const event of client.watch<T>(this.path, parameters, signal)) {
        this.#backoff.reset();
        this.#take(event);
      }
    } catch (error) {
      if (needsList(error)) {
        this.#options.log.info({ path: this.path, version, err: error }, 'the watch expired, listing again');
        return false;
      }
      if (this.#clock.monotonic() - startedAt >= GOOD_WATCH_MS) this.#backoff.reset();
      throw error;
    }
    if (this.#clock.monotonic() - startedAt >= GOOD_WATCH_MS || signal.aborted) return true;
    throw new Error('the server ended the watch at once');
  }

  #take(event: WatchEvent<T>): void {
    const version = event.object.metadata.resourceVersion;
    this.#doubtedSince = undefined;
    if (event.type === 'BOOKMARK') {
      if (isOlder(version, this.#version)) throw new BackInTime(version, this.#version);
      this.#version = version;
      return;
    }
    // A watch tells what comes after the version it was begun with: what is older is said again.
    if (isOlder(version, this.#version)) return;
    this.#version = version;
    const object = this.#lean(event.object);
    if (event.type === 'DELETED') this.#remove(objectKey(object), object);
    else this.#put(object);
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { items, version } = await this.#pages(signal);
    const now = this.#clock.monotonic();
    const review = reviewList({
      lastVersion: this.#version,
      held: this.store.size,
      listVersion: version,
      listed: items.size,
      doubtedSince: this.#doubtedSince,
      now,
      emptyMustLastMs: this.#options.emptyMustLastMs ?? EMPTY_MUST_LAST_MS,
    });
    if (!review.trusted) {
      this.#doubtedSince ??= now;
      throw new Error(`ignoring a suspicious list: ${review.reason}`);
    }
    this.#doubtedSince = undefined;
    for (const [key, held] of this.store.list().map((object) => [objectKey(object), object] as const)) {
      if (!items.has(key)) this.#remove(key, held);
    }
    for (const item of items.values()) this.#put(item);
    this.#version = version;
    this.#backoff.reset();
    this.#hasSynced = true;
    this.#synced.resolve();
    this.#options.log.debug({ path: this.path, objects: items.size, version }, 'listed');
  }

  /** All pages or none: an error on any page, an expired continue token too, throws the whole list away. */
  async #pages(signal: AbortSignal): Promise<{ items: Map<string, T>; version: string }> {
    const { client, query, pageSize = 500 } = this.#options;
    const items = new Map<string, T>();
    let next: string | undefined;
    let version: string | undefined;
    do {
      const parameters: Query = { ...query, limit: pageSize, continue: next };
      const page = await client.list<T>(this.path, parameters);
      signal.throwIfAborted();
      for (const item of page.items) items.set(objectKey(item), this.#lean(item));
      version = page.metadata.resourceVersion;
      next = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (next !== undefined);
    if (version === undefined) throw new Error('a list without a resourceVersion');
    return { items, version };
  }

  #put(object: T): void {
    const key = objectKey(object);
    const old = this.store.get(key);
    if (old !== undefined && old.metadata.uid !== object.metadata.uid) this.#remove(key, old);
    else if (old !== undefined && old.metadata.resourceVersion === object.metadata.resourceVersion) return;
    const current = this.store.get(key);
    this.store.set(object);
    this.#emit(current === undefined ? { type: 'added', object } : { type: 'modified', object, old: current });
  }

  #lean(object: T): T {
    return this.#options.transform?.(object) ?? object;
  }

  #remove(key: string, last: T): void {
    if (this.store.get(key) === undefined) return;
    this.store.remove(key);
    this.#emit({ type: 'deleted', object: last });
  }

  #emit(event: ReflectorEvent<T>): void {
    for (const handler of this.#handlers) {
      try {
        handler(event);
      } catch (error) {
        const fields = { path: this.path, object: objectKey(event.object), event: event.type, err: error };
        this.#options.log.error(fields, 'a handler of this event failed');
      }
    }
  }
}

/**
 * A bookmark older than what was seen: the server's data were restored, and its watch would stay silent until it
 * catches up.
 */
class BackInTime extends Error {
  constructor(version: string | undefined, lastVersion: string | undefined) {
    super(`the server is at version ${version}, ${lastVersion} was seen before`);
  }
}

function needsList(error: unknown): boolean {
  if (isExpired(error) || error instanceof BackInTime) return true;
  return error instanceof ApiError && error.causes.includes('ResourceVersionTooLarge');
}
