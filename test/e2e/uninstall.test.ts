import assert from 'node:assert/strict';
import { join } from 'node:path';
import { root } from '../../hack/cache.ts';
import { until } from '../../hack/process.ts';
import { type MeshCluster, nodeState } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, httpServer, pod, podAddress, runIn, waitReady } from './workloads.ts';

const NS = 'uninstall';

/** Makes a new connection every 50 ms, and tells what became of them. */
const visitor = (url: string) => `
  let succeeded = 0; const failures = [];
  setInterval(() => require('http').get('${url}', { agent: false, timeout: 5000 }, (r) => { r.resume(); r.on('end', () => succeeded++); })
    .on('error', (e) => failures.push(new Date().toISOString() + ' ' + e.code)), 50);
  require('http').createServer((q, s) => s.end(JSON.stringify({ succeeded, failures }))).listen(9000, '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));`;

const names = (lines: string) => lines.split('\n').filter((line) => line !== '');

// The suite's last file by name: after it there is no mesh.
describe('deleting the Mesh', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply([pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 })]);
    await waitReady(mesh, NS, 'server');
    const script = visitor(`http://${await podAddress(mesh, NS, 'server')}:8080/`);
    await mesh.apply([pod({ name: 'client', namespace: NS, node: 'node-1', script })]);
    await waitReady(mesh, NS, 'client');
    await mesh.untilSecured(NS, 2);
  });

  const visits = async (): Promise<{ succeeded: number; failures: string[] }> =>
    JSON.parse(
      await runIn(mesh, NS, 'client', `fetch('http://127.0.0.1:9000/').then((r) => r.text()).then(console.log)`),
    );

  it('R30 returns every node and the cluster to what they were, and no request fails meanwhile', async () => {
    const before = await visits();
    assert.ok(before.succeeded > 0 && before.failures.length === 0, JSON.stringify(before));
    await mesh.kubectl('delete', 'mesh', 'default', '--timeout=120s');
    const left = (await visits()).succeeded;
    await until('visits go on', async () => (await visits()).succeeded > left + 10, { limitMs: 30_000 });
    assert.deepEqual((await visits()).failures, []);
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
