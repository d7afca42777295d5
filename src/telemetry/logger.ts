import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/**
 * A logger that writes one JSON object a line to standard output: `time` (RFC 3339), `level`, `component`, the
 * event's fields and `msg`. The level is `TULLE_LOG` (debug, info, warn, error), info by default. Field names are the
 * same everywhere: workload, identity, node, namespace, policy, err.
 */
export function createLogger(component: string, level: string = process.env.TULLE_LOG ?? 'info'): Logger {
  return pino({
    level: LEVELS.has(level) ? level : 'info',
    base: { component },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRETS, censor: '[redacted]' },
  });
}

const LEVELS = new Set(['debug', 'info', 'warn', 'error', 'silent']);

/** Fields that never belong in a log: a second line of defence, the first is not to pass them. */
const SECRETS = ['token', '*.token', 'authorization', '*.authorization', '*.*.authorization', 'key', '*.privateKey'];
