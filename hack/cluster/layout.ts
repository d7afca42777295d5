import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprint, root } from '../cache.ts';
import { run } from '../process.ts';

/** Where clusters keep their state: on a real file system, since containerd's snapshots cannot lie on an overlay. */
export const clustersFolder = process.env.TULLE_CLUSTERS ?? '/var/lib/tulle/clusters';

/** The environment variable by which a cluster's processes on the machine are found again. */
export const processMark = 'TULLE_CLUSTER';

export const serviceCidr = '10.96.0.0/16';
export const dnsAddress = '10.96.0.10';

/** As many nodes a cluster may have. */
export const maxNodes = 9;

/** One node: a set of namespaces of its own, reached over the cluster's bridge. */
export interface NodeLayout {
  readonly name: string;
  readonly index: number;
  readonly address: string;
  readonly podCidr: string;
  /** The pods' gateway. */
  readonly podGateway: string;
  /** Name of the node's network namespace, as `ip netns` knows it. */
  readonly netns: string;
  /** Name of the machine's end of the node's link. */
  readonly link: string;
  /** Name of the node's control group in every hierarchy. */
  readonly cgroup: string;
  readonly folder: string;
}

/** Everything about a cluster that follows from its name, its slot and the number of its nodes. */
export interface ClusterLayout {
  readonly name: string;
  readonly slot: number;
  readonly folder: string;
  readonly bridge: string;
  /** The machine's address on the bridge: the API server's. */
  readonly address: string;
  readonly kubeconfig: string;
  readonly nodes: readonly NodeLayout[];
}

/** The name of this checkout's cluster for a purpose; other checkouts get other names. */
export function clusterName(purpose: string): string {
  return `${purpose}-${fingerprint(root).slice(0, 6)}`;
}

export function clusterLayout(name: string, slot: number, nodes: number): ClusterLayout {
  const folder = join(clustersFolder, name);
  return {
    name,
    slot,
    folder,
    bridge: `tulle${slot}`,
    address: `172.30.${slot}.1`,
    kubeconfig: join(folder, 'kubeconfig'),
    nodes: Array.from({ length: nodes }, (_, i) => nodeLayout(name, slot, i + 1)),
  };
}

function nodeLayout(cluster: string, slot: number, index: number): NodeLayout {
  const name = `node-${index}`;
  return {
    name,
    index,
    address: `172.30.${slot}.${10 + index}`,
    podCidr: `10.${240 + slot}.${index}.0/24`,
    podGateway: `10.${240 + slot}.${index}.1`,
    netns: `tulle-${cluster}-${name}`,
    link: `tulle${slot}n${index}`,
    cgroup: `tulle-${cluster}-${name}`,
    folder: join(clustersFolder, cluster, name),
  };
}

const slotCount = 10;
const slotFile = (slot: number) => join(clustersFolder, '.slots', String(slot));

/** The slot a running or half-removed cluster holds. */
export function heldSlot(name: string): number | undefined {
  for (let slot = 0; slot < slotCount; slot++) {
    try {
      if (readFileSync(slotFile(slot), 'utf8') === name) return slot;
    } catch {
      // free
    }
  }
  return undefined;
}

/** Takes a free slot, hence addresses nobody else on this machine uses; two callers never get the same. */
export async function takeSlot(name: string): Promise<number> {
  const held = heldSlot(name);
  if (held !== undefined) return held;
  mkdirSync(join(clustersFolder, '.slots'), { recursive: true });
  const routes = await run('ip', ['-4', 'route', 'show', 'table', 'all']);
  for (let slot = 0; slot < slotCount; slot++) {
    if (routes.includes(`172.30.${slot}.`) || routes.includes(`10.${240 + slot}.`)) continue;
    try {
      writeFileSync(slotFile(slot), name, { flag: 'wx' });
      return slot;
    } catch {
      // another cluster's
    }
  }
  throw new Error(
    `all ${slotCount} address ranges for clusters (172.30.0-9.0/24 with 10.240-249.0.0/16) are in use: ` +
      `remove a cluster with \`make cluster-down\` in its checkout; ${clustersFolder}/.slots names them`,
  );
}

export function releaseSlot(slot: number): void {
  rmSync(slotFile(slot), { force: true });
}
