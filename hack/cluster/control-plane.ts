import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterCertificates } from './certificates.ts';

/** Where the parts of one control plane listen and keep their state. */
export interface ControlPlaneLayout {
  /** State: data, certificates, kubeconfigs, logs. */
  readonly folder: string;
  /** IP address the API server and etcd bind to. */
  readonly address: string;
  readonly apiserverPort: number;
  readonly etcdPort: number;
  readonly etcdPeerPort: number;
  readonly serviceCidr: string;
}

/** Users that authenticate with a static token, and the groups they are in. */
export interface TokenUser {
  readonly user: string;
  readonly groups: readonly string[];
}

export const adminUser: TokenUser = { user: 'admin', groups: ['system:masters'] };

/** The tokens of these users, by user name, written for `--token-auth-file`; kept if they were made before. */
export function writeTokens(
  folder: string,
  users: readonly TokenUser[],
): { file: string; tokens: Map<string, string> } {
  const file = join(folder, 'tokens.csv');
  const tokens = new Map<string, string>();
  if (existsSync(file)) {
    for (const line of readFileSync(file, 'utf8').trimEnd().split('\n')) {
      const [token, user] = line.split(',');
      if (token !== undefined && user !== undefined) tokens.set(user, token);
    }
  }
  for (const { user } of users) if (!tokens.has(user)) tokens.set(user, randomBytes(24).toString('hex'));
  const lines = users.map(({ user, groups }) => `${tokens.get(user)},${user},${user},"${groups.join(',')}"`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  return { file, tokens };
}

export function etcdArguments(layout: ControlPlaneLayout): string[] {
  const client = `http://${layout.address}:${layout.etcdPort}`;
  const peer = `http://${layout.address}:${layout.etcdPeerPort}`;
  return [
    '--name=etcd',
    `--data-dir=${join(layout.folder, 'etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=etcd=${peer}`,
    '--unsafe-no-fsync', // the cluster is thrown away: a lost power supply may lose it
    '--log-level=warn',
  ];
}

export function apiserverArguments(
  layout: ControlPlaneLayout,
  certificates: ClusterCertificates,
  tokenFile: string,
): string[] {
  return [
    `--etcd-servers=http://${layout.address}:${layout.etcdPort}`,
    `--bind-address=${layout.address}`,
    `--advertise-address=${layout.address}`,
    `--secure-port=${layout.apiserverPort}`,
    `--tls-cert-file=${certificates.apiserverCert}`,
    `--tls-private-key-file=${certificates.apiserverKey}`,
    `--client-ca-file=${certificates.ca}`,
    `--kubelet-client-certificate=${certificates.kubeletClientCert}`,
    `--kubelet-client-key=${certificates.kubeletClientKey}`,
    '--kubelet-preferred-address-types=InternalIP',
    `--token-auth-file=${tokenFile}`,
    '--authorization-mode=Node,RBAC',
    '--allow-privileged=true',
    // Webhooks are called by endpoint address: there is no kube-proxy beside the API server.
    '--enable-aggregator-routing=true',
    `--service-cluster-ip-range=${layout.serviceCidr}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${certificates.serviceAccountPublicKey}`,
    `--service-account-signing-key-file=${certificates.serviceAccountKey}`,
    '--profiling=false',
    '--v=1',
  ];
}
