import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { note } from '../../../hack/steps.ts';
import { type Figure, figure } from '../figure.ts';

/** What an honest caller does, once. Rejects when it is not served. */
export interface Probe {
  readonly name: string;
  readonly call: () => Promise<void>;
}

/** Something that is done to a program without end. It need not be done by a program of ours. */
export interface Flood {
  readonly name: string;
  /** Returns how to end it. */
  readonly start: () => Promise<() => Promise<void>>;
}

/** A program that is flooded while honest callers use it. */
export interface Target {
  readonly name: string;
  readonly probes: readonly Probe[];
  readonly floods: readonly Flood[];
  /** Its process, whose memory counts. */
  readonly pid: number;
  readonly pace: Pace;
  readonly stop: () => Promise<void>;
}

export interface Pace {
  /** Fills caches, and lets go what a flood left behind; not counted. */
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Between two rounds of honest calls. */
  readonly pauseMs: number;
}

/** A call that takes longer is one that was not served, ms. */
const callLimitMs = 5_000;

interface Observation {
  /** Probe → how long each call took, ms. */
  readonly latencies: ReadonlyMap<string, readonly number[]>;
  /** Calls that were refused or took too long. */
  readonly notServed: number;
  /** The highest, KiB. */
  readonly residentMemory: number;
}

/** Latency of each probe and memory of the target during each of its floods, against the same without any. */
export async function measureTarget(target: Target): Promise<Figure[]> {
  const { warmUpMs, measureMs } = target.pace;
  await observe(target, warmUpMs);
  const calm = await observe(target, measureMs);
  const figures: Figure[] = [];
  for (const flood of target.floods) {
    const stop = await flood.start();
    try {
      figures.push(...compare(target, flood, await observe(target, measureMs), calm));
    } finally {
      await stop();
    }
    await observe(target, warmUpMs);
  }
  return figures;
}

async function observe(target: Target, lastsMs: number): Promise<Observation> {
  const latencies = new Map<string, number[]>(target.probes.map(({ name }) => [name, []]));
  let notServed = 0;
  let residentMemory = 0;
  const sampling = setInterval(() => {
    residentMemory = Math.max(residentMemory, residentMemoryOf(target.pid));
  }, 50);
  try {
    const end = performance.now() + lastsMs;
    while (performance.now() < end) {
      for (const { name, call } of target.probes) {
        const begun = performance.now();
        try {
          await within(callLimitMs, call());
          latencies.get(name)?.push(performance.now() - begun);
        } catch (error) {
          notServed += 1;
          note(`${target.name}, ${name}: ${error instanceof Error ? error.message : error}`);
        }
      }
      await sleep(target.pace.pauseMs);
    }
  } finally {
    clearInterval(sampling);
  }
  return { latencies, notServed, residentMemory };
}

function compare({ name, probes }: Target, flood: Flood, flooded: Observation, calm: Observation): Figure[] {
  const against = 'the same without it';
  const title = (what: string) => `${name}, ${flood.name}: ${what}`;
  return [
    ...probes.map((probe) =>
      figure(title(probe.name), 'ms', ninetieth(flooded.latencies.get(probe.name)), {
        baseline: ninetieth(calm.latencies.get(probe.name)),
        against: `${against}; of ten calls nine take less`,
      }),
    ),
    figure(title('resident memory'), 'MiB', flooded.residentMemory / 1024, {
      baseline: calm.residentMemory / 1024,
      against,
    }),
    figure(title('honest calls not served'), 'calls', flooded.notServed, { goal: 0 }),
  ];
}

function ninetieth(values: readonly number[] = []): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.9)] ?? Number.NaN;
}

/** KiB. */
function residentMemoryOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

async function within(ms: number, call: Promise<void>): Promise<void> {
  const late = new AbortController();
  const limit = sleep(ms, undefined, { signal: late.signal }).then(() => {
    throw new Error(`not served within ${ms} ms`);
  });
  try {
    await Promise.race([call, limit]);
  } finally {
    late.abort();
    limit.catch(() => {});
  }
}
