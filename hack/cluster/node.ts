import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, root } from '../cache.ts';
import { isAlive, run, startDaemon, until } from '../process.ts';
import type { ClusterCertificates } from './certificates.ts';
import { createCgroup } from './cgroups.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { type ClusterLayout, type NodeLayout, processMark } from './layout.ts';
import { cniConfig, containerdConfig, kubeletConfig, kubeProxyConfig } from './node-config.ts';

export interface NodeSecrets {
  readonly certificates: ClusterCertificates;
  readonly token: (user: string) => string;
}

export const nodeUser = (node: NodeLayout) => ({ user: `system:node:${node.name}`, groups: ['system:nodes'] });

/** Writes everything a node reads at its start. */
export function configureNode(cluster: ClusterLayout, node: NodeLayout, secrets: NodeSecrets): void {
  for (const folder of ['containerd', 'kubelet', 'pod-logs', 'cni']) {
    mkdirSync(join(node.folder, folder), { recursive: true });
  }
  const write = (name: string, contents: string | object) =>
    writeFileSync(
      join(node.folder, name),
      typeof contents === 'string' ? contents : `${JSON.stringify(contents, null, 2)}\n`,
    );
  write('address', `${node.address}\n`);
  write('resolv.conf', 'nameserver 127.0.0.1\n'); // nothing outside the cluster is resolved
  write('containerd.toml', containerdConfig());
  write('kubelet.yaml', kubeletConfig(node, secrets.certificates));
  write('kube-proxy.yaml', kubeProxyConfig(node));
  write('cni/10-pods.conflist', cniConfig(node));
  const server = `https://${cluster.address}:6443`;
  for (const [file, user] of [
    ['kubelet.kubeconfig', nodeUser(node).user],
    ['kube-proxy.kubeconfig', 'system:kube-proxy'],
  ] as const) {
    writeKubeconfig(join(node.folder, file), {
      server,
      caFile: secrets.certificates.ca,
      user,
      token: secrets.token(user),
    });
  }
}

/** Starts the node's first process in namespaces and control groups of its own; returns when containerd answers. */
export async function startNode(cluster: ClusterLayout, node: NodeLayout, binaries: string): Promise<void> {
  const groups = createCgroup(node.cgroup);
  const join_ = groups.map((file) => `echo $$ > ${file}`).join(' && ');
  const enter = `exec nsenter --net=/run/netns/${node.netns} unshare --cgroup --mount --pid --uts --ipc --fork --mount-proc --kill-child`;
  const init = [join(root, 'hack/cluster/node-init.sh'), node.name, node.folder, cluster.folder, cacheFolder, binaries];
  const log = join(node.folder, 'init.log');
  const pid = startDaemon('sh', ['-c', `${join_} && ${enter} "$@"`, 'node', ...init], {
    logFile: log,
    env: { [processMark]: cluster.name },
    cwd: '/',
  });
  writeFileSync(join(node.folder, 'pid'), String(pid));
  await until(
    `${node.name} is up`,
    async () => {
      if (!isAlive(pid)) throw new Error(`${node.name} ended at its start:\n${readFileSync(log, 'utf8')}`);
      const init = initPid(node);
      return init !== undefined && existsSync(`/proc/${init}/root/run/node-ready`);
    },
    { limitMs: 60_000, explain: () => readFileSync(log, 'utf8') },
  );
}

/** The machine's id of the node's process 1; undefined when the node is not running. */
export function initPid(node: NodeLayout): number | undefined {
  try {
    const outer = Number(readFileSync(join(node.folder, 'pid'), 'utf8'));
    if (!isAlive(outer)) return undefined;
    const child = readFileSync(`/proc/${outer}/task/${outer}/children`, 'utf8').trim().split(' ')[0];
    return child === undefined || child === '' ? undefined : Number(child);
  } catch {
    return undefined;
  }
}

/** Runs a command on the node, in all its namespaces. */
export async function runOnNode(node: NodeLayout, command: string, ...args: string[]): Promise<string> {
  const pid = initPid(node);
  if (pid === undefined) throw new Error(`${node.name} is not running`);
  return run('nsenter', ['-t', String(pid), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w', '--', command, ...args]);
}

/** Imports image archives into the node's containerd. */
export async function loadImage(node: NodeLayout, archive: string): Promise<void> {
  await runOnNode(node, 'ctr', '-n', 'k8s.io', 'images', 'import', '--no-unpack', archive);
}
