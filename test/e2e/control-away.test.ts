import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, get, httpServer, idle, pod, podAddress, setMode, waitReady } from './workloads.ts';

const NS = 'control-away';
const OUTSIDE = 'control-away-outside';
const SYSTEM = 'tulle-system';

describe('while the control plane is down', () => {
  let mesh: MeshCluster;
  let server: string;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await createNamespace(mesh, OUTSIDE);
    await mesh.apply([
      pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 }),
      pod({ name: 'client', namespace: NS, node: 'node-1', script: idle }),
      pod({ name: 'stranger', namespace: OUTSIDE, node: 'node-1', script: idle }),
    ]);
    await waitReady(mesh, NS, 'server', 'client');
    await waitReady(mesh, OUTSIDE, 'stranger');
    await mesh.untilSecured(NS, 2);
    server = await podAddress(mesh, NS, 'server');
    await setMode(mesh, 'Strict');
    await until('Strict is in force', async () => !(await fromOutside()).startsWith('200'), { limitMs: 30_000 });
    // The operator would bring the control plane back at once.
    await scale('tulle-operator', 0);
    await scale('tulle-control', 0);
    const left = () =>
      mesh.kubectl('-n', SYSTEM, 'get', 'pods', '-l', 'app.kubernetes.io/name=tulle-control', '-o', 'name');
    await until('no replica is left', async () => (await left()).trim() === '', { limitMs: 90_000 });
  });

  after(async () => {
    await scale('tulle-operator', 2);
    await mesh.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/tulle-operator', '--timeout=120s');
    await scale('tulle-control', 2);
    await mesh.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/tulle-control', '--timeout=120s');
    await setMode(mesh, 'Permissive');
    await mesh.kubectl('delete', 'namespace', NS, OUTSIDE, '--wait=false');
  });

  const scale = (deployment: string, replicas: number) =>
    mesh.kubectl('-n', SYSTEM, 'scale', `deployment/${deployment}`, `--replicas=${replicas}`);
  const fromOutside = () => get(mesh, OUTSIDE, 'stranger', `http://${server}:8080/`);

  it('R17 new connections between known workloads go on', async () => {
    for (let turn = 0; turn < 5; turn++) {
      assert.match(await get(mesh, NS, 'client', `http://${server}:8080/`), /^200 /);
    }
  });

  it('R17 policy goes on', async () => {
    assert.match(await fromOutside(), /^(ECONNRESET|ECONNREFUSED)/);
  });
});
