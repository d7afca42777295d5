import { writeFileSync } from 'node:fs';

export interface KubeconfigOptions {
  readonly server: string;
  readonly caFile: string;
  readonly user: string;
  readonly token: string;
}

/** Writes a kubeconfig for one user of one cluster; JSON is YAML. */
export function writeKubeconfig(path: string, options: KubeconfigOptions): void {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'tulle',
    clusters: [{ name: 'tulle', cluster: { server: options.server, 'certificate-authority': options.caFile } }],
    users: [{ name: options.user, user: { token: options.token } }],
    contexts: [{ name: 'tulle', context: { cluster: 'tulle', user: options.user } }],
  };
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}
