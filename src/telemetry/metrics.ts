import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export { Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The registry of this process, with Node's own metrics in it. Metrics are made once, at the top of the module they
 * belong to, with `registers: [registry]`; names start with `tulle_` and carry their unit.
 */
export const registry = new Registry();

/** Adds memory, CPU, event loop and garbage collection of this process; entry points call it once. */
export function exposeProcessMetrics(): void {
  collectDefaultMetrics({ register: registry });
}

/** `tulle_<name>` as a counter. */
export function counter<L extends string>(name: string, help: string, labelNames: L[] = []): Counter<L> {
  return new Counter({ name: `tulle_${name}`, help, labelNames, registers: [registry] });
}

/** `tulle_<name>` as a gauge. */
export function gauge<L extends string>(name: string, help: string, labelNames: L[] = []): Gauge<L> {
  return new Gauge({ name: `tulle_${name}`, help, labelNames, registers: [registry] });
}

/** `tulle_<name>` as a histogram; buckets in the name's unit. */
export function histogram<L extends string>(
  name: string,
  help: string,
  buckets: number[],
  labelNames: L[] = [],
): Histogram<L> {
  return new Histogram({ name: `tulle_${name}`, help, labelNames, buckets, registers: [registry] });
}
