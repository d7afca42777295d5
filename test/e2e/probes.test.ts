import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, httpServer, pod, setMode, waitReady } from './workloads.ts';

const NS = 'probes';

/** Serves grpc.health.v1.Health/Check with SERVING: field 1 is 1, in a frame of two bytes (gRPC over HTTP/2). */
const grpcHealth = `
  require('http2').createServer().on('stream', (s) => {
    s.on('error', () => {});
    s.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    s.on('wantTrailers', () => s.sendTrailers({ 'grpc-status': '0' }));
    s.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]));
  }).listen(9000, '0.0.0.0');
  process.on('SIGTERM', () => process.exit(0));`;

const kinds: Readonly<Record<string, { readonly script: string; readonly probe: object }>> = {
  grpc: { script: grpcHealth, probe: { grpc: { port: 9000 } } },
  exec: { script: httpServer(), probe: { exec: { command: ['/usr/local/bin/node', '-e', ''] } } },
  tcp: { script: httpServer(), probe: { tcpSocket: { port: 8080 } } },
  http: { script: httpServer(), probe: { httpGet: { port: 'web', path: '/' } } },
};

describe('the kubelet’s probes in Strict', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await setMode(mesh, 'Strict');
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply(Object.entries(kinds).map(([name, { script, probe }]) => probed(name, script, probe)));
  });

  after(async () => {
    await setMode(mesh, 'Permissive');
    await mesh.kubectl('delete', 'namespace', NS, '--wait=false');
  });

  function probed(name: string, script: string, probe: object): object {
    const made = pod({ name, namespace: NS, node: 'node-1', script }) as { spec: { containers: object[] } };
    const [container] = made.spec.containers;
    assert.ok(container);
    Object.assign(container, {
      ports: [{ name: 'web', containerPort: 8080 }],
      readinessProbe: { ...probe, periodSeconds: 1 },
      livenessProbe: { ...probe, periodSeconds: 2, failureThreshold: 2, timeoutSeconds: 5 },
    });
    return made;
  }

  /** How often the kubelet's liveness probe of each pod has passed, as the kubelet counts it. */
  async function livenessPassed(): Promise<number[]> {
    const metrics = await mesh.kubectl('get', '--raw', '/api/v1/nodes/node-1/proxy/metrics/probes');
    const lines = metrics.split('\n').filter((line) => line.startsWith('prober_probe_total{'));
    const ours = lines.filter((line) =>
      [`namespace="${NS}"`, 'probe_type="Liveness"', 'result="successful"'].every((label) => line.includes(label)),
    );
    return ours.map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
  }

  it('R27 of every kind pass, for a pod that starts in Strict', async () => {
    await waitReady(mesh, NS, ...Object.keys(kinds));
    await mesh.untilSecured(NS, Object.keys(kinds).length);
    // A liveness probe that failed twice would restart its container.
    const passed = async () => (await livenessPassed()).filter((times) => times >= 4).length;
    await until('every liveness probe passed four times', async () => (await passed()) === Object.keys(kinds).length, {
      limitMs: 60_000,
    });
    const path = 'jsonpath={.items[*].status.containerStatuses[*].restartCount}';
    assert.equal((await mesh.kubectl('-n', NS, 'get', 'pods', '-o', path)).trim(), '0 0 0 0');
  });
});
