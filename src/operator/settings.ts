import { hostname } from 'node:os';
import { TulleError } from '../errors/tulle-error.ts';

/** What the operator is told by its environment. */
export interface OperatorSettings {
  /** From TULLE_VERSION, TULLE_IMAGE and TULLE_NODE_IMAGE, all required. */
  release: { version: string; image: string; nodeImage: string };
  /** TULLE_POD_NAME, else the host's name: unique to this replica. */
  instance: string;
  /** TULLE_HTTP_PORT, 8080 by default. */
  telemetryPort: number;
  /** TULLE_METRICS_PORT, 8443 by default. */
  metricsPort: number;
}

/** Throws EnvironmentInvalid naming the variable. */
export function operatorSettings(env: Readonly<Record<string, string | undefined>>): OperatorSettings {
  return {
    release: {
      version: required(env, 'TULLE_VERSION', 'the version of Tulle, for example 0.1.0'),
      image: required(env, 'TULLE_IMAGE', 'the image of operator and control'),
      nodeImage: required(env, 'TULLE_NODE_IMAGE', 'the image of agent and proxy'),
    },
    instance: env.TULLE_POD_NAME || hostname(),
    telemetryPort: port(env, 'TULLE_HTTP_PORT', 8080),
    metricsPort: port(env, 'TULLE_METRICS_PORT', 8443),
  };
}

function required(env: Readonly<Record<string, string | undefined>>, name: string, meaning: string): string {
  const value = env[name];
  if (value !== undefined && value !== '') return value;
  throw new TulleError('EnvironmentInvalid', `${name} is not set.`, { fix: `Set it to ${meaning}.` });
}

function port(env: Readonly<Record<string, string | undefined>>, name: string, otherwise: number): number {
  const value = env[name];
  if (value === undefined || value === '') return otherwise;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 0 && number <= 65_535) return number;
  throw new TulleError('EnvironmentInvalid', `${name} is ${JSON.stringify(value)}.`, {
    fix: 'Set it to a port, 0 to 65535.',
  });
}
