import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, idle, pod, waitReady } from './workloads.ts';

const NS = 'node';
const CONFIGURATION = '/etc/cni/net.d/00-tulle.conflist';

describe('a node without the CNI plugin', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
  });

  after(() => mesh?.kubectl('delete', 'namespace', NS, '--wait=false'));

  it('gets it back, and a pod that started without it is enrolled as a running one', async () => {
    const node = mesh.node('node-1');
    await mesh.onNode(node, 'sh', '-c', 'kill -STOP $(pidof tulle-agent)');
    try {
      await mesh.onNode(node, 'rm', CONFIGURATION);
      // The container runtime follows the folder: only when it has seen the change does a pod start without the plugin.
      await until('a pod starts without the plugin', () => startsWithoutPlugin(mesh), { limitMs: 60_000 });
      assert.equal((await mesh.enrolment(NS)).get('early'), undefined, 'nobody calls it secured');
    } finally {
      await mesh.onNode(node, 'sh', '-c', 'kill -CONT $(pidof tulle-agent)');
    }
    await mesh.untilPod(NS, 'early', 'is Secured', (found) => found.state === 'Secured' && found.captured);
    await mesh.onNode(node, 'test', '-f', CONFIGURATION);
  });
});

async function startsWithoutPlugin(mesh: MeshCluster): Promise<boolean> {
  await mesh.apply([pod({ name: 'early', namespace: NS, node: 'node-1', script: idle })]);
  return waitReady(mesh, NS, 'early').then(
    () => true,
    async () => {
      await mesh.kubectl('-n', NS, 'delete', 'pod', 'early', '--force', '--grace-period=0');
      return false;
    },
  );
}
