import { StatusError } from './status.ts';

/** ms. */
const units: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
/** The longest that Node.js has timers for, ms: 25 days, and no connection lives as long. */
const longestMs = 2 ** 31 - 1;

/**
 * The header `grpc-timeout` in ms, undefined where there is none.
 * @throws StatusError INVALID_ARGUMENT
 */
export function timeoutMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const [, count, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  const ms = Number(count) * (units[unit] ?? Number.NaN);
  if (Number.isNaN(ms)) throw new StatusError('INVALID_ARGUMENT', 'the header grpc-timeout is not one of gRPC');
  return Math.min(ms, longestMs);
}
