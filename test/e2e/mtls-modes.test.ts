import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, get, httpServer, idle, pod, podAddress, setMode, waitReady } from './workloads.ts';

const NS = 'modes';
const OUTSIDE = 'modes-outside';

describe('mTLS modes', () => {
  let mesh: MeshCluster;
  let server: string;
  let outside: string;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await createNamespace(mesh, OUTSIDE);
    await mesh.apply([
      pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 }),
      pod({ name: 'client', namespace: NS, node: 'node-1', script: idle }),
      pod({ name: 'stranger', namespace: OUTSIDE, node: 'node-1', script: httpServer() }),
    ]);
    await waitReady(mesh, NS, 'server', 'client');
    await waitReady(mesh, OUTSIDE, 'stranger');
    await mesh.untilSecured(NS, 2);
    server = await podAddress(mesh, NS, 'server');
    outside = await podAddress(mesh, OUTSIDE, 'stranger');
  });

  after(async () => {
    await setMode(mesh, 'Permissive');
    await mesh.kubectl('delete', 'namespace', NS, OUTSIDE, '--wait=false');
  });

  const fromOutside = () => get(mesh, OUTSIDE, 'stranger', `http://${server}:8080/`);

  it('Permissive accepts plaintext from a pod outside the mesh, with its address', async () => {
    const client = await podAddress(mesh, OUTSIDE, 'stranger');
    assert.match(await fromOutside(), new RegExp(`^200 (::ffff:)?${client}$`));
  });

  it('Strict refuses plaintext, and only plaintext', async () => {
    await setMode(mesh, 'Strict');
    await until('plaintext is refused', async () => /^(ECONNRESET|ECONNREFUSED)/.test(await fromOutside()), {
      limitMs: 30_000,
    });
    assert.match(await get(mesh, NS, 'client', `http://${server}:8080/`), /^200 /);
    assert.match(await get(mesh, NS, 'client', `http://${outside}:8080/`), /^200 /);
  });

  it('R27 kubelet’s probes pass in Strict', async () => {
    // The liveness probe fails after 4 s; a pod that lived through 15 s of Strict has passed several.
    const begun = Date.now();
    await until('the probes had their chances', () => Date.now() - begun > 15_000, { limitMs: 20_000 });
    const state = await mesh.kubectl(
      ...[
        '-n',
        NS,
        'get',
        'pod',
        'server',
        '-o',
        'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}',
      ],
    );
    assert.equal(state.trim(), '0 true');
  });

  it('is refused by the API server when it is none of the two', async () => {
    await assert.rejects(setMode(mesh, 'Lenient'), /Permissive.*Strict/s);
  });
});
