import { hostname } from 'node:os';
import packageJson from '../../package.json' with { type: 'json' };
import { defaultTrustDomain, ports } from '../api/names.ts';
import { TulleError } from '../errors/tulle-error.ts';

/** What tulle-control is told by its environment. */
export interface ControlSettings {
  /** TULLE_TRUST_DOMAIN, the Mesh's; cluster.local by default. */
  readonly trustDomain: string;
  /** Of this program. */
  readonly version: string;
  /** TULLE_POD_NAME, else the host's name: unique to this replica. */
  readonly instance: string;
  /** TULLE_GRPC_PORT, 15012 by default. */
  readonly grpcPort: number;
  /** TULLE_HTTP_PORT, 8080 by default. */
  readonly httpPort: number;
  /** TULLE_METRICS_PORT, 8443 by default. */
  readonly metricsPort: number;
  /** TULLE_PLAINTEXT_METRICS_PORT: where /metrics is served without TLS; nowhere by default. */
  readonly plaintextMetricsPort: number | undefined;
  /**
   * TULLE_LEAVE_MS, 3000 by default: how long calls are still taken after SIGTERM, until everybody has heard that this replica
   * is not ready; and over how long discovery streams are then ended, one by one.
   */
  readonly leaveMs: number;
}

/** @throws TulleError EnvironmentInvalid, naming the variable */
export function controlSettings(env: Readonly<Record<string, string | undefined>>): ControlSettings {
  return {
    trustDomain: env.TULLE_TRUST_DOMAIN || defaultTrustDomain,
    version: packageJson.version,
    instance: env.TULLE_POD_NAME || hostname(),
    grpcPort: wholeNumber(env, 'TULLE_GRPC_PORT', ports.controlGrpc, 65_535),
    httpPort: wholeNumber(env, 'TULLE_HTTP_PORT', ports.controlHttp, 65_535),
    metricsPort: wholeNumber(env, 'TULLE_METRICS_PORT', ports.metrics, 65_535),
    plaintextMetricsPort: wholeNumber(env, 'TULLE_PLAINTEXT_METRICS_PORT', undefined, 65_535),
    leaveMs: wholeNumber(env, 'TULLE_LEAVE_MS', 3_000, 60_000),
  };
}

function wholeNumber<T>(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  otherwise: T,
  max: number,
): number | T {
  const value = env[name];
  if (value === undefined || value === '') return otherwise;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 0 && number <= max) return number;
  throw new TulleError('EnvironmentInvalid', `${name} is ${JSON.stringify(value)}.`, {
    fix: `Set it to a whole number from 0 to ${max}.`,
  });
}
