import type { Reflector, ReflectorEvent } from '../cache/reflector.ts';
import type { Store } from '../cache/store.ts';
import type { KubeObject } from '../objects.ts';

/** What a pass over a key ended with. A pass that failed throws, and is tried again with backoff. */
export type Outcome = { kind: 'done' } | { kind: 'requeue'; afterMs: number };

/** Nothing more to do until something changes. */
export const done: Outcome = { kind: 'done' };

/** Look again after so long even when nothing changes, ms. */
export function requeueAfter(afterMs: number): Outcome {
  return { kind: 'requeue', afterMs };
}

/** Of two outcomes of one pass the one that looks again first. */
export function sooner(a: Outcome, b: Outcome): Outcome {
  if (a.kind === 'done') return b;
  return b.kind === 'done' || a.afterMs <= b.afterMs ? a : b;
}

/**
 * Thrown by a pass that has done what can be done now and is not at its end: that is no failure. It comes again after so long, ms,
 * or where no time is given when something changes.
 */
export class Requeue extends Error {
  override readonly name = 'Requeue';
  readonly afterMs: number | undefined;

  constructor(afterMs?: number) {
    super('not at its end yet');
    this.afterMs = afterMs;
  }

  get outcome(): Outcome {
    return this.afterMs === undefined ? done : requeueAfter(this.afterMs);
  }
}

/**
 * Brings one object, named by its key, to what it should be: reads caches, decides, writes, reports. It must give the
 * same result however often it runs, and writes nothing when there is nothing to do. `signal` aborts when this
 * replica must stop writing.
 */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<Outcome>;

/** Where a controller's keys come from: changes of one reflector's objects. */
export interface Source {
  readonly reflector: { readonly path: string; readonly hasSynced: boolean };
  /** Calls `add` with each key a change concerns. Called once, before the reflector starts. */
  connect(add: (key: string) => void): void;
  /** The keys of everything that is there now. */
  seed(): string[];
}

/**
 * A source of the keys `keysOf` gives for an object; after a change, of its old and its new form, where the change `matters`. A
 * source of many keys for one object should say what does: its status may be written all the time.
 */
export function source<T extends KubeObject>(
  reflector: Pick<Reflector<T>, 'path' | 'hasSynced' | 'onEvent'> & { readonly store: Pick<Store<T>, 'list'> },
  keysOf: (object: T) => Iterable<string>,
  matters: (before: T, after: T) => boolean = () => true,
): Source {
  return {
    reflector,
    connect: (add) =>
      reflector.onEvent((event) => {
        if (event.type === 'modified' && !matters(event.old, event.object)) return;
        for (const key of new Set(concerned(event, keysOf))) add(key);
      }),
    seed: () => reflector.store.list().flatMap((object) => [...keysOf(object)]),
  };
}

/** A change of what somebody asks for, not of what is reported: of another object, of its spec, or its deletion. */
export function isOfSpec({ metadata: before }: KubeObject, { metadata: after }: KubeObject): boolean {
  return (
    before.uid !== after.uid ||
    before.generation !== after.generation ||
    before.deletionTimestamp !== after.deletionTimestamp
  );
}

function* concerned<T extends KubeObject>(event: ReflectorEvent<T>, keysOf: (object: T) => Iterable<string>) {
  yield* keysOf(event.object);
  if (event.type === 'modified') yield* keysOf(event.old);
}
