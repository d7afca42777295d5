import assert from 'node:assert/strict';
import type { Mesh } from '../../src/api/mesh.ts';
import type { MeshNode } from '../../src/api/mesh-node.ts';
import { kubernetesEvidence } from '../../src/ca/kubernetes/evidence.ts';
import type { KubeClient } from '../../src/kube/client/client.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { agentClient, markReleased, meshNode, podReport, reportPods, reportStatus } from './agents.ts';
import {
  adminClient,
  eventually,
  installConfig,
  nodes,
  startOperator,
  trustBundle,
  versionsOf,
} from './operator-cluster.ts';

const mesh = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const copy = '/api/v1/namespaces/shop/configmaps/tulle-trust-bundle';
const system = (group: string, plural: string, name: string) => `${group}/namespaces/tulle-system/${plural}/${name}`;
const absent = (object: unknown) => object === undefined;
const present = (object: unknown) => object !== undefined;

describe('the removal of a Mesh on a real API server', () => {
  let api: ApiServer;
  let admin: KubeClient;
  let operator: MeshOperator;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    await api.apply(nodes('node-1', 'node-2'));
    operator = await startOperator(api);
    await api.kubectl('apply', '-f', 'config/samples/mesh.yaml');
    await api.kubectl('create', 'namespace', 'shop');
    await api.kubectl('label', 'namespace', 'shop', 'mesh.tulle.dev/mode=ambient');
    await admin.apply(trustBundle('first'), { fieldManager: 'tulle-control', force: true });
    await eventually(admin, copy, present);
    for (const node of ['node-1', 'node-2']) {
      await eventually<MeshNode>(admin, meshNode(node), present);
      const agent = await agentClient(api, node);
      await reportPods(agent, node, []);
      await agent.close();
    }
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  const says = (type: string, status: string, reason: string) => (object: Mesh | undefined) => {
    const condition = findCondition(object?.status?.conditions, type);
    return condition?.status === status && condition.reason === reason;
  };

  it('R30 given the Mesh is deleted, then it waits for each node that is there, also with a dead agent, and leaves nothing', async () => {
    await api.apply(nodes('node-4'));
    await eventually<MeshNode>(admin, meshNode('node-4'), present);
    const dead = await agentClient(api, 'node-4');
    await reportPods(dead, 'node-4', [podReport('captured', 'Secured')]);
    await dead.close();
    await admin.create('/api/v1/namespaces/tulle-system/secrets', {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'tulle-ca' },
    });
    await leaveTraces(api, admin);
    const before = (await admin.list('/api/v1/namespaces/tulle-system/pods')).metadata.resourceVersion;
    await api.kubectl('delete', 'mesh', 'default', '--wait=false');
    const waiting = await eventually<Mesh>(admin, mesh, says('Removing', 'True', 'ReleasingNodes'));
    assert.match(findCondition(waiting?.status?.conditions, 'Removing')?.message ?? '', /node-1.*node-2/s);
    await markReleased(api, 'node-1');
    const left = await eventually<Mesh>(admin, mesh, (object) => {
      const message = findCondition(object?.status?.conditions, 'Removing')?.message ?? '';
      return message.includes('node-2') && !message.includes('node-1');
    });
    assert.ok(left);
    assert.ok(await admin.find(system('/apis/apps/v1', 'daemonsets', 'tulle-agent')));
    assert.ok(await admin.find(system('/api/v1', 'secrets', 'tulle-ca')));
    await markReleased(api, 'node-2');
    const dying = await eventually<Mesh>(admin, mesh, (object) => {
      const message = findCondition(object?.status?.conditions, 'Removing')?.message ?? '';
      return message.includes('node-4') && !message.includes('node-2');
    });
    assert.match(findCondition(dying?.status?.conditions, 'Removing')?.message ?? '', /delete its Node/);
    await admin.delete(meshNode('node-4'));
    await eventually<MeshNode>(admin, meshNode('node-4'), (object) => object?.metadata.deletionTimestamp !== undefined);
    assert.ok(await admin.find(system('/apis/apps/v1', 'daemonsets', 'tulle-agent')), 'its pods are captured still');
    await admin.delete('/api/v1/nodes/node-4');
    await eventually(admin, system('/apis/apps/v1', 'daemonsets', 'tulle-agent'), absent);
    const stopping = await eventually<Mesh>(admin, mesh, says('Removing', 'True', 'StoppingWorkloads'));
    assert.match(findCondition(stopping?.status?.conditions, 'Removing')?.message ?? '', /Waiting for the end of /);
    await api.kubectl('-n', 'tulle-system', 'delete', 'pods', '--all', '--force', '--grace-period=0');
    await eventually(admin, mesh, absent);
    const [secretGone] = await deletions(admin, system('/api/v1', 'secrets', 'tulle-ca'), before);
    const podsGone = await deletions(admin, '/api/v1/namespaces/tulle-system/pods/', before);
    assert.ok(secretGone !== undefined && podsGone.length > 0);
    const inTime = podsGone.filter((gone) => gone < secretGone);
    assert.equal(inTime.length, podsGone.length, 'a control that still runs would miss its Secret');
    const policy = system('/apis/networking.k8s.io/v1', 'networkpolicies', 'tulle-proxy');
    const [policyGone] = await deletions(admin, policy, before);
    const covered = podsGone.filter((gone) => policyGone !== undefined && gone < policyGone);
    assert.equal(covered.length, podsGone.length, 'R20 a pod that still runs would show its metrics to everybody');
    assert.deepEqual(
      await kubernetesEvidence(admin).read(),
      { reported: undefined, acknowledged: [] },
      'R15 the next Mesh begins with an authority of its own',
    );
    const remaining = [...(await versionsOf(admin)).keys()].filter((path) => !path.includes('/events'));
    const foreign =
      /\/nodes\/|cluster-admin|system:|tulle-operator|tulle-metrics-reader|authority-secret\.|\/default$|\/kube-system\/|\/(admin|edit|view)$/;
    assert.deepEqual(
      remaining.filter((path) => !foreign.test(path)),
      [],
    );
  });
});

/** What tells, in a mesh that has been in use, that there was an authority. */
async function leaveTraces(api: ApiServer, admin: KubeClient): Promise<void> {
  const trustBundleSha256 = 'ab'.repeat(32);
  const agent = await agentClient(api, 'node-1');
  await reportStatus(agent, 'node-1', { proxy: { version: '0.1.0', ready: true, trustBundleSha256 } });
  await agent.close();
  const authority = { trustDomain: 'cluster.local', bundleSha256: trustBundleSha256, authorities: [] };
  await admin.patch(`${mesh}/status`, { status: { authority } });
}

/** The versions at which objects were deleted since `resourceVersion`: those at a path, or all below one that ends in a slash. */
async function deletions(admin: KubeClient, path: string, resourceVersion: string | undefined): Promise<bigint[]> {
  const [collection, name] = [path.slice(0, path.lastIndexOf('/')), path.slice(path.lastIndexOf('/') + 1)];
  const fieldSelector = name === '' ? undefined : `metadata.name=${name}`;
  // What has happened is sent at once; the server ends the watch a moment later.
  const parameters = { fieldSelector, resourceVersion, timeoutSeconds: 1 };
  const versions: bigint[] = [];
  for await (const { type, object } of admin.watch(collection, parameters, AbortSignal.timeout(20_000))) {
    if (type === 'DELETED') versions.push(BigInt(object.metadata.resourceVersion ?? ''));
  }
  return versions;
}
