import { KubeClient } from '../../src/kube/client/client.ts';
import type { ApiServer } from '../fixtures/apiserver.ts';
import { kubeConfigFor } from './operator-cluster.ts';

export const meshNode = (name: string) => `/apis/mesh.tulle.dev/v1alpha1/meshnodes/${name}`;

/** A client with the token a tulle-agent pod on `node` would have. */
export async function agentClient(api: ApiServer, node: string): Promise<KubeClient> {
  const name = `tulle-agent-${node}`;
  await api.apply(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'tulle-system', labels: { 'mesh.tulle.dev/mesh': 'default' } },
      spec: { nodeName: node, serviceAccountName: 'tulle-agent', containers: [{ name: 'agent', image: 'none' }] },
    }),
  );
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${name}`];
  const token = await api.kubectl('-n', 'tulle-system', 'create', 'token', 'tulle-agent', ...bound);
  return new KubeClient(kubeConfigFor(api, token.trim()));
}

/** Writes the status of the node's MeshNode, as its agent. */
export async function reportStatus(agent: KubeClient, node: string, status: object): Promise<void> {
  const object = { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'MeshNode', metadata: { name: node }, status };
  await agent.patch(`${meshNode(node)}/status`, object, { fieldManager: 'tulle-agent' });
}

/** Says, as the node's agent, that nothing of the mesh is left on it. */
export async function markReleased(api: ApiServer, node: string): Promise<void> {
  const agent = await agentClient(api, node);
  const lastTransitionTime = '2026-01-01T00:00:00Z';
  const released = { type: 'Released', status: 'True', reason: 'Released', message: '', lastTransitionTime };
  await reportStatus(agent, node, { pods: [], conditions: [released] });
  await agent.close();
}

/** A pod as its node's agent reports it. */
export function podReport(name: string, state: string, reason = '') {
  const captured = state === 'Secured';
  const since = '2026-01-01T00:00:00Z';
  const identity = { uid: `uid-${name}`, namespace: 'shop', name, serviceAccount: 'default', ips: ['10.0.0.1'] };
  return { ...identity, captured, state, reason, message: '', existingConnections: 0, since };
}

/** Says, as the node's agent, how these pods stand. */
export function reportPods(agent: KubeClient, node: string, pods: object[]): Promise<void> {
  return reportStatus(agent, node, { agent: { version: '0.1.0' }, pods });
}
