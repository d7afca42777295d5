import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { Mesh } from '../../src/api/mesh.ts';
import type { KubeClient } from '../../src/kube/client/client.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { Node } from '../../src/kube/objects.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { agentClient, markReleased, reportStatus } from './agents.ts';
import { adminClient, eventually, eventuallyEvent, installConfig, startOperator } from './operator-cluster.ts';

const mesh = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const policies = '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies';
const policy = `${policies}/startup-taint.mesh.tulle.dev`;
const nodePath = (name: string) => `/api/v1/nodes/${name}`;
const key = 'mesh.tulle.dev/not-ready';
const annotation = 'mesh.tulle.dev/served';
const gpu = { key: 'example.org/gpu', value: 'yes', effect: 'NoSchedule' };

/** All but the one that Kubernetes itself puts on each new Node. */
const taints = (node: Node | undefined) =>
  (node?.spec?.taints ?? []).map((taint) => taint.key).filter((taint) => taint !== 'node.kubernetes.io/not-ready');
const isTainted = (node: Node | undefined) => taints(node).includes(key);
const isServed = (node: Node | undefined) =>
  node !== undefined && !isTainted(node) && node.metadata.annotations?.[annotation] !== undefined;
const isClean = (node: Node | undefined) =>
  node !== undefined && !isTainted(node) && node.metadata.annotations?.[annotation] === undefined;

function node(name: string, os: string | undefined = 'linux', others: object[] = []) {
  const labels = os === undefined ? {} : { 'kubernetes.io/os': os };
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, spec: { taints: others } };
}

describe('R36 a node that joins', () => {
  let api: ApiServer;
  let admin: KubeClient;
  let operator: MeshOperator;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    await admin.create('/api/v1/nodes', node('before'));
    operator = await startOperator(api);
    // Times have whole seconds: a node of the same second would count as joined under the Mesh.
    const { metadata } = await admin.get<Node>(nodePath('before'));
    const made = Date.parse(metadata.creationTimestamp ?? '');
    await until('the second of the node is over', () => Date.now() >= made + 1000, { limitMs: 5_000 });
    await api.kubectl('apply', '-f', 'config/samples/mesh.yaml');
    await until('the policy is in force', async () => isTainted(await admitted(node('probe'))), { limitMs: 20_000 });
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  /** The Node as the API server would store it: what nobody but admission has touched. */
  const admitted = (object: object) => admin.create<Node>('/api/v1/nodes', object, { dryRun: 'All' });

  const report = async (name: string, status: object) => {
    const agent = await agentClient(api, name);
    await reportStatus(agent, name, { agent: { version: '0.1.0' }, ...status });
    await agent.close();
  };
  const condition = (status: string, reason: string, message: string) => [
    { type: 'Ready', status, reason, message, lastTransitionTime: '2026-01-01T00:00:00Z' },
  ];
  const notReady = { conditions: condition('False', 'CniNotInstalled', 'there is no configuration to extend') };
  const ready = { proxy: { version: '0.1.0', ready: true }, conditions: condition('True', 'Ready', '') };

  it('R36 is created with the taint, by the API server alone', async () => {
    assert.deepEqual(taints(await admitted(node('plain'))), [key]);
    assert.deepEqual(taints(await admitted(node('gpu', 'linux', [gpu]))), [gpu.key, key]);
    assert.deepEqual(taints(await admitted(node('silent', undefined))), [key]);
    assert.deepEqual(taints(await admitted({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'bare' } })), [key]);
  });

  it('R36 is not tainted twice, nor when it runs something else than Linux', async () => {
    const own = { key, effect: 'NoSchedule' };
    assert.deepEqual(taints(await admitted(node('by-its-cloud', 'linux', [own]))), [key]);
    assert.deepEqual(taints(await admitted(node('windows', 'windows'))), []);
  });

  it('R36 does not concern the nodes that were there before the Mesh', async () => {
    await operator.settled();
    assert.ok(isClean(await admin.get<Node>(nodePath('before'))));
  });

  it('R36 waits, and says on itself for what, until CNI plugin and proxy serve; then the taint alone goes', async () => {
    await admin.create('/api/v1/nodes', node('joining', 'linux', [gpu]));
    await eventually(admin, '/apis/mesh.tulle.dev/v1alpha1/meshnodes/joining', (object) => object !== undefined);
    await report('joining', notReady);
    const event = await eventuallyEvent(admin, 'default', 'MeshNotReady');
    assert.match(event.note ?? '', /^CniNotInstalled: there is no configuration to extend\. Pods wait/);
    assert.deepEqual(taints(await admin.get<Node>(nodePath('joining'))), [gpu.key, key]);
    await report('joining', ready);
    const served = await eventually<Node>(admin, nodePath('joining'), isServed);
    assert.deepEqual(taints(served), [gpu.key]);
    await eventuallyEvent(admin, 'default', 'MeshReady');
  });

  it('R36 is not tainted again when its agent restarts, its MeshNode is deleted, or another operator leads', async () => {
    await report('joining', notReady);
    await operator.settled();
    await admin.delete('/apis/mesh.tulle.dev/v1alpha1/meshnodes/joining');
    await operator.settled();
    await operator.stop();
    operator = await startOperator(api, 'operator-2');
    await operator.settled();
    assert.ok(isServed(await admin.get<Node>(nodePath('joining'))));
  });

  it('R36 is tainted by the operator where admission did not', async () => {
    await admin.create('/api/v1/nodes', node('slipped'));
    await operator.settled();
    const slipped = async () => admin.patch<Node>(nodePath('slipped'), { spec: { taints: [gpu] } });
    assert.deepEqual((await slipped()).spec?.taints, [gpu]);
    const tainted = await eventually<Node>(admin, nodePath('slipped'), isTainted);
    assert.deepEqual(taints(tainted), [gpu.key, key]);
  });

  it('R36 is another node when it is made again under its name', async () => {
    await admin.delete(nodePath('joining'));
    await admin.create('/api/v1/nodes', node('joining'));
    await operator.settled();
    assert.ok(isTainted(await admin.get<Node>(nodePath('joining'))));
  });

  it('R36 is not tainted where the Mesh says Off, and those that wait are let in', async () => {
    const say = (startupTaint: string) => admin.patch(mesh, { spec: { node: { startupTaint } } });
    await say('Off');
    await eventually(admin, policy, (object) => object === undefined);
    await eventually<Node>(admin, nodePath('slipped'), (found) => !isTainted(found));
    await until('the policy is out of force', async () => !isTainted(await admitted(node('probe'))), {
      limitMs: 20_000,
    });
    await say('Auto');
    await eventually<Node>(admin, nodePath('slipped'), isTainted);
    await until('the policy is in force', async () => isTainted(await admitted(node('probe'))), { limitMs: 20_000 });
  });

  it('R30 when the Mesh is deleted, first the policy goes, then taint and annotation from every node', async () => {
    await report('slipped', ready);
    await eventually<Node>(admin, nodePath('slipped'), isServed);
    await admin.delete(mesh);
    await eventually(admin, policy, (object) => object === undefined);
    // As if it had been admitted before the API server's own copy of the policy was gone.
    await admin.create('/api/v1/nodes', node('late', 'linux', [{ key, effect: 'NoSchedule' }]));
    for (const name of ['before', 'joining', 'slipped', 'late']) await eventually<Node>(admin, nodePath(name), isClean);
    await eventually<Mesh>(admin, mesh, (found) => {
      return findCondition(found?.status?.conditions, 'Removing')?.reason === 'ReleasingNodes';
    });
    for (const name of ['before', 'joining', 'slipped']) await markReleased(api, name);
    await eventually<Mesh>(admin, mesh, (found) => {
      return findCondition(found?.status?.conditions, 'Removing')?.reason === 'StoppingWorkloads';
    });
    await api.kubectl('-n', 'tulle-system', 'delete', 'pods', '--all', '--force', '--grace-period=0');
    await eventually(admin, mesh, (found) => found === undefined);
  });

  it('R30 a node that still comes with the taint after the Mesh loses it', async () => {
    await admin.create('/api/v1/nodes', node('after', 'linux', [{ key, effect: 'NoSchedule' }]));
    await eventually<Node>(admin, nodePath('after'), isClean);
  });
});
