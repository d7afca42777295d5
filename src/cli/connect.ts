import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { explain, TulleError } from '../errors/tulle-error.ts';
import { KubeClient } from '../kube/client/client.ts';

/** Which cluster to ask. */
export interface ClusterChoice {
  readonly kubeconfig?: string;
  readonly context?: string;
}

const inClusterToken = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * A client of the cluster a user means: the file that was named, else what kubectl would take. Only the files are looked at,
 * nothing is sent yet.
 * @throws TulleError KubeconfigInvalid
 */
export function connect({ kubeconfig, context }: ClusterChoice, env: Readonly<NodeJS.ProcessEnv>): KubeClient {
  const named = kubeconfig ?? env.KUBECONFIG;
  if (named === undefined || named === '') return fromDefaults(context);
  const files = named.split(delimiter).filter((file) => file !== '');
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw noKubeconfig(`The kubeconfig ${missing} does not exist.`);
  const [only, ...more] = files;
  if (only === undefined || more.length > 0) {
    throw noKubeconfig('Several kubeconfig files at once are not merged here.');
  }
  return fromFile(only, context);
}

function fromDefaults(context: string | undefined): KubeClient {
  const file = join(homedir(), '.kube', 'config');
  if (existsSync(file)) return fromFile(file, context);
  if (existsSync(inClusterToken)) return KubeClient.fromEnvironment({ userAgent: 'tulle' });
  throw noKubeconfig(`There is no kubeconfig: KUBECONFIG is not set and ${file} does not exist.`);
}

function fromFile(file: string, context: string | undefined): KubeClient {
  try {
    return KubeClient.fromFile(file, { userAgent: 'tulle', ...(context === undefined ? {} : { context }) });
  } catch (cause) {
    const fix = 'Check it with: kubectl config view';
    throw new TulleError('KubeconfigInvalid', `The kubeconfig ${file} cannot be used: ${explain(cause)}.`, {
      cause,
      fix,
    });
  }
}

function noKubeconfig(message: string): TulleError {
  return new TulleError('KubeconfigInvalid', message, {
    fix: 'Name one with --kubeconfig <file>, or set KUBECONFIG to its path.',
  });
}
