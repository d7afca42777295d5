import assert from 'node:assert/strict';
import { join } from 'node:path';
import { root } from '../../hack/cache.ts';
import { until } from '../../hack/process.ts';
import { type MeshCluster, nodeState } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, get, httpServer, idle, pod, podAddress, waitReady } from './workloads.ts';

const NS = 'uninstall';

const names = (lines: string) => lines.split('\n').filter((line) => line !== '');

// The suite's last file by name: after it there is no mesh.
describe('deleting the Mesh', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply([
      pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 }),
      pod({ name: 'client', namespace: NS, node: 'node-1', script: idle }),
    ]);
    await waitReady(mesh, NS, 'server', 'client');
    await mesh.untilSecured(NS, 2);
  });

  it('returns every node and the cluster to what they were, while pods work on', async () => {
    const server = await podAddress(mesh, NS, 'server');
    await mesh.kubectl('delete', 'mesh', 'default', '--timeout=120s');
    assert.match(await get(mesh, NS, 'client', `http://${server}:8080/`), /^200 /);
    const restarts = await mesh.kubectl(
      '-n',
      NS,
      'get',
      'pods',
      '-o',
      'jsonpath={.items[*].status.containerStatuses[*].restartCount}',
    );
    assert.equal(restarts.trim(), '0 0');

    const installed = new Set(names(await mesh.kubectl('get', '-k', join(root, 'config'), '-o', 'name')));
    const kinds = names(await mesh.kubectl('api-resources', '--verbs=list', '-o', 'name')).join(',');
    const ours = await mesh.kubectl('get', kinds, '-A', '-l', 'app.kubernetes.io/managed-by=tulle', '-o', 'name');
    assert.deepEqual(
      names(ours).filter((name) => !installed.has(name) && !name.includes('/tulle-operator-')),
      [],
    );
    assert.equal((await mesh.kubectl('get', 'meshnodes', '-o', 'name')).trim(), '');
    assert.equal(
      (await mesh.kubectl('-n', 'tulle-system', 'get', 'secret', 'tulle-ca', '--ignore-not-found')).trim(),
      '',
    );
    for (const node of mesh.nodes) {
      await until(
        `${node.name} is as it was`,
        async () => (await nodeState(mesh, node)) === mesh.before.get(node.name),
        {
          limitMs: 60_000,
          explain: async () => `before:\n${mesh.before.get(node.name)}\nnow:\n${await nodeState(mesh, node)}`,
        },
      );
    }
  });
});
