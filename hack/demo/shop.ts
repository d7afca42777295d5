import { join } from 'node:path';
import { z } from 'zod';
import { type MeshNodePod, meshNodeStatus } from '../../src/api/mesh-node.ts';
import { root } from '../cache.ts';
import { until } from '../process.ts';
import type { Report } from '../steps.ts';
import type { DemoCluster } from './cluster.ts';

export const SHOP = 'shop';

/** Who calls whom in the shop, by ServiceAccount. */
export const CALLS = [
  ['visitor', 'web'],
  ['web', 'cart'],
  ['cart', 'redis'],
] as const;

/** Deploys the shop and waits until it serves its visitor. */
export async function applyShop(cluster: DemoCluster, report: Report): Promise<void> {
  await cluster.apply(await cluster.kubectl('kustomize', join(root, 'config/samples/shop')));
  for (const part of new Set(CALLS.flat())) {
    report(`waiting for ${part}`);
    await cluster.kubectl('-n', SHOP, 'rollout', 'status', `deployment/${part}`, '--timeout=120s');
  }
  await until('the visitor has been served', async () => (await shopVisits(cluster)).ok >= 20, { limitMs: 30_000 });
}

/** A pod as far as a restart would show. */
export interface PodFacts {
  readonly uid: string;
  readonly name: string;
  /** The part of the shop it belongs to, also its ServiceAccount. */
  readonly part: string;
  readonly node: string;
  readonly address: string;
  readonly startTime: string;
  /** Restarts of all its containers. */
  readonly restarts: number;
  readonly containersStartedAt: readonly string[];
}

const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ uid: z.string(), name: z.string(), deletionTimestamp: z.string().optional() }),
      spec: z.object({ serviceAccountName: z.string(), nodeName: z.string() }),
      status: z.object({
        podIP: z.string(),
        startTime: z.string(),
        containerStatuses: z.array(
          z.object({
            restartCount: z.number(),
            state: z.object({ running: z.object({ startedAt: z.string() }).optional() }),
          }),
        ),
      }),
    }),
  ),
});

/** The shop's pods. */
export async function shopPods(cluster: DemoCluster): Promise<PodFacts[]> {
  const text = await cluster.kubectl('-n', SHOP, 'get', 'pods', '-o', 'json');
  return podList.parse(JSON.parse(text)).items.map(({ metadata, spec, status }) => ({
    uid: metadata.uid,
    name: metadata.name,
    part: spec.serviceAccountName,
    node: spec.nodeName,
    address: status.podIP,
    startTime: status.startTime,
    restarts: status.containerStatuses.reduce((sum, container) => sum + container.restartCount, 0),
    containersStartedAt: status.containerStatuses.map(({ state }) => state.running?.startedAt ?? 'not running'),
  }));
}

const clientCounts = z.object({ retriesOnStaleConnection: z.number() });
const visits = z.object({
  since: z.string().nullable(),
  ok: z.number(),
  failed: z.number(),
  recentFailures: z.array(z.object({ at: z.string(), text: z.string() })),
  keptConnections: clientCounts,
  newConnections: clientCounts,
});

export type Visits = z.output<typeof visits>;

/** What the visitor has counted so far. */
export async function shopVisits(cluster: DemoCluster): Promise<Visits> {
  const stats = ['node', '/app/main.js', 'stats'];
  return visits.parse(JSON.parse(await cluster.kubectl('-n', SHOP, 'exec', 'deploy/visitor', '--', ...stats)));
}

const meshNodeList = z.object({ items: z.array(z.object({ status: meshNodeStatus.optional() })) });

/** What the nodes' agents say of the shop's pods. */
export async function shopEnrolment(cluster: DemoCluster): Promise<MeshNodePod[]> {
  const list = meshNodeList.parse(JSON.parse(await cluster.kubectl('get', 'meshnodes', '-o', 'json')));
  return list.items.flatMap(({ status }) => status?.pods ?? []).filter((pod) => pod.namespace === SHOP);
}

/** Where the enrolment of these pods stands. */
export interface EnrolmentProgress {
  readonly secured: number;
  readonly pending: number;
  readonly failed: number;
  readonly existingConnections: number;
  /** Every pod is Secured and nothing older is left. */
  readonly done: boolean;
}

/** Sums up what the agents say; a pod that no agent mentions is not yet anything. */
export function enrolmentProgress(pods: readonly PodFacts[], states: readonly MeshNodePod[]): EnrolmentProgress {
  const ours = states.filter(({ uid }) => pods.some((pod) => pod.uid === uid));
  const count = (state: MeshNodePod['state']) => ours.filter((pod) => pod.state === state).length;
  const existingConnections = ours.reduce((sum, pod) => sum + pod.existingConnections, 0);
  const secured = ours.filter((pod) => pod.state === 'Secured' && pod.captured).length;
  return {
    secured,
    pending: count('Pending'),
    failed: count('Failed'),
    existingConnections,
    done: pods.length > 0 && secured === pods.length && existingConnections === 0,
  };
}
