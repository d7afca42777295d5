import { until } from '../../hack/process.ts';
import { createNamespace, httpServer, pod, setMode } from '../e2e/workloads.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';

const SYSTEM = 'tulle-system';
const CHURNED = 'soak-churned';
const PODS_AT_ONCE = 4;

/** One thing that happens to a mesh on an ordinary day. */
export interface Upheaval {
  readonly title: string;
  readonly happen: () => Promise<unknown>;
}

export async function prepareChurn(mesh: MeshCluster): Promise<void> {
  await createNamespace(mesh, CHURNED, 'ambient');
}

export async function endChurn(mesh: MeshCluster): Promise<void> {
  await setMode(mesh, 'Permissive');
  await mesh.kubectl('delete', 'namespace', CHURNED, '--wait=false');
}

/** Everything that is done in turn, again and again; between two turns the mesh is whole. */
export function upheavals(mesh: MeshCluster): readonly Upheaval[] {
  let made = 0;
  const names: string[] = [];
  const replacePods = async () => {
    const gone = names.splice(0);
    if (gone.length > 0) await mesh.kubectl('-n', CHURNED, 'delete', 'pod', ...gone, '--wait=false');
    for (let index = 0; index < PODS_AT_ONCE; index++) {
      const name = `churned-${made++}`;
      names.push(name);
      const node = index % 2 === 0 ? 'node-1' : 'node-2';
      await mesh.apply([pod({ name, namespace: CHURNED, node, script: httpServer() })]);
    }
    await mesh.untilSecured(CHURNED, PODS_AT_ONCE);
  };
  return [
    { title: 'pods are replaced', happen: replacePods },
    { title: 'Strict', happen: () => setMode(mesh, 'Strict') },
    { title: 'the proxies are replaced', happen: () => restart(mesh, 'daemonset/tulle-proxy') },
    { title: 'a namespace leaves the mesh and comes back', happen: () => flipLabel(mesh, names.length) },
    { title: 'Permissive', happen: () => setMode(mesh, 'Permissive') },
    { title: 'the agents are replaced', happen: () => restart(mesh, 'daemonset/tulle-agent') },
    { title: 'the control plane is replaced', happen: () => restart(mesh, 'deployment/tulle-control') },
    { title: 'the operator is replaced', happen: () => restart(mesh, 'deployment/tulle-operator') },
  ];
}

async function restart(mesh: MeshCluster, workload: string): Promise<void> {
  await mesh.kubectl('-n', SYSTEM, 'rollout', 'restart', workload);
  await mesh.kubectl('-n', SYSTEM, 'rollout', 'status', workload, '--timeout=180s');
}

async function flipLabel(mesh: MeshCluster, pods: number): Promise<void> {
  await mesh.kubectl('label', 'namespace', CHURNED, 'mesh.tulle.dev/mode-');
  await until('its pods have left', async () => (await mesh.enrolment(CHURNED)).size === 0, { limitMs: 120_000 });
  await mesh.kubectl('label', 'namespace', CHURNED, 'mesh.tulle.dev/mode=ambient');
  await mesh.untilSecured(CHURNED, pods);
}
