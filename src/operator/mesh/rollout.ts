import type { MeshNode } from '../../api/mesh-node.ts';
import { findCondition } from '../../kube/conditions.ts';
import type { DaemonSet, Deployment } from '../../kube/objects.ts';

/**
 * Pods that run the present revision and are ready, of those there should be. `settled`: the numbers are of the
 * present spec.
 */
export interface Progress {
  ready: number;
  desired: number;
  settled: boolean;
}

export interface Rollout {
  control: Progress;
  agent: Progress;
  proxy: Progress;
}

const absent: Progress = { ready: 0, desired: 0, settled: false };

export function deploymentProgress(deployment: Deployment | undefined): Progress {
  if (deployment === undefined) return absent;
  const { metadata, spec, status = {} } = deployment;
  return {
    ready: Math.min(status.updatedReplicas ?? 0, status.availableReplicas ?? 0),
    desired: spec?.replicas ?? 1,
    settled: (status.observedGeneration ?? 0) >= (metadata.generation ?? 1),
  };
}

export function daemonSetProgress(daemonSet: DaemonSet | undefined): Progress {
  if (daemonSet === undefined) return absent;
  const { metadata, status = {} } = daemonSet;
  return {
    ready: Math.min(status.updatedNumberScheduled ?? 0, status.numberReady ?? 0),
    desired: status.desiredNumberScheduled ?? 0,
    settled: (status.observedGeneration ?? 0) >= (metadata.generation ?? 1),
  };
}

/** How the rollout stands, in a reason and a sentence; and whether it is complete. */
export function readiness(
  rollout: Rollout,
  meshNodes: readonly MeshNode[],
): { ready: boolean; reason: string; message: string } {
  const parts = Object.entries(rollout);
  const waiting = parts.filter(([, { ready, desired, settled }]) => !settled || ready < desired);
  if (waiting.length > 0) {
    const message = waiting.map(([name, { ready, desired }]) => `${name} ${ready} of ${desired} ready`).join(', ');
    return { ready: false, reason: 'RollingOut', message: `${message}.` };
  }
  const broken = meshNodes.flatMap((node) => {
    const condition = findCondition(node.status?.conditions, 'Ready');
    return condition?.status === 'False' ? [`${node.metadata.name}: ${condition.message || condition.reason}`] : [];
  });
  if (broken.length > 0) {
    return { ready: false, reason: 'NodeNotReady', message: some(broken, 5) };
  }
  const message = `Control, and agent and proxy on ${rollout.agent.desired} nodes, are ready.`;
  return { ready: true, reason: 'Ready', message };
}

/** The first `limit` of `items` in one sentence, and how many more of `all` there are. */
export function some(items: readonly string[], limit: number, all = items.length): string {
  const more = all - limit;
  return items.slice(0, limit).join('; ') + (more > 0 ? `; and ${more} more` : '');
}
