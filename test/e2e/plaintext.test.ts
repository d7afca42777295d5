import assert from 'node:assert/strict';
import { analyseCapture } from '../../hack/demo/capture/analyse.ts';
import type { NodeCapture } from '../../hack/demo/recorder.ts';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, idle, pod, podAddress, runIn, service, waitReady } from './workloads.ts';

const NS = 'plaintext';
const MARKER = 'tulle-marker-that-nobody-may-read';

/** Answers a line with the same line. */
const lineServer = `
  require('net').createServer((c) => { c.pipe(c); c.on('error', () => {}); }).listen(7000, '0.0.0.0');
  process.on('SIGTERM', () => process.exit(0));`;

/** From its first moment on opens a connection every 20 ms, sends the marker, and counts answers. */
const eagerClient = (host: string) => `
  let ok = 0, failed = 0;
  const visit = () => { const c = require('net').connect(7000, '${host}'); c.setTimeout(2000, () => c.destroy(new Error('slow')));
    c.write('${MARKER}\\n'); c.once('data', () => { ok++; c.destroy(); }); c.on('error', () => failed++); };
  visit(); setInterval(visit, 20);
  require('http').createServer((q, s) => s.end(JSON.stringify({ ok, failed }))).listen(9000, '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));`;

const counts = async (mesh: MeshCluster, name: string): Promise<{ ok: number; failed: number }> =>
  JSON.parse(await runIn(mesh, NS, name, `fetch('http://127.0.0.1:9000/').then((r) => r.text()).then(console.log)`));

describe('R24 an enrolled pod never sends plaintext', () => {
  let mesh: MeshCluster;
  let server: string;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await mesh.apply([
      service(NS, 'server', 7000, 7000),
      pod({ name: 'server', namespace: NS, node: 'node-2', script: lineServer }),
    ]);
    await mesh.untilPod(NS, 'server', 'is Secured', (found) => found.state === 'Secured');
    await until('the server has an address', async () => (await podAddress(mesh, NS, 'server')) !== '', {
      limitMs: 30_000,
    });
    server = await podAddress(mesh, NS, 'server');
  });

  after(() => mesh?.kubectl('delete', 'namespace', NS, '--wait=false'));

  it('R24 not from its very first packet on, when it starts in an enrolled namespace', async () => {
    const recording = await mesh.record();
    await mesh.apply([pod({ name: 'eager', namespace: NS, node: 'node-1', script: eagerClient(server) })]);
    await waitReady(mesh, NS, 'eager');
    await until('its connections are answered', async () => (await counts(mesh, 'eager')).ok > 20, { limitMs: 30_000 });
    assertNothingReadable(await recording.end(), [server, await podAddress(mesh, NS, 'eager')]);
  });

  it('R24 not when the proxy of its node is killed under traffic, and recovers', async () => {
    const recording = await mesh.record();
    const client = await podAddress(mesh, NS, 'eager');
    await mesh.onNode(mesh.node('node-1'), 'sh', '-c', 'kill -9 $(pidof tulle-proxy)');
    const atKill = await counts(mesh, 'eager');
    await until('connections are answered again', async () => (await counts(mesh, 'eager')).ok > atKill.ok + 20, {
      limitMs: 60_000,
      explain: async () => mesh.kubectl('-n', 'tulle-system', 'get', 'pods', '-o', 'wide'),
    });
    assertNothingReadable(await recording.end(), [server, client]);
  });

  it('R24 does not start while the agent is away: the pod’s event names the agent, and it starts when it is back', async () => {
    const node = mesh.node('node-1');
    await mesh.onNode(node, 'sh', '-c', 'kill -STOP $(pidof tulle-agent)');
    try {
      await mesh.apply([pod({ name: 'early', namespace: NS, node: 'node-1', script: idle })]);
      await until(
        'an Event says why the pod does not start',
        async () =>
          (await mesh.kubectl('-n', NS, 'get', 'events', '-o', 'jsonpath={.items[*].message}')).includes('tulle-agent'),
        { limitMs: 90_000 },
      );
      const phase = await mesh.kubectl('-n', NS, 'get', 'pod', 'early', '-o', 'jsonpath={.status.phase}');
      assert.equal(phase.trim(), 'Pending');
    } finally {
      await mesh.onNode(node, 'sh', '-c', 'kill -CONT $(pidof tulle-agent)');
    }
    await waitReady(mesh, NS, 'early');
    await mesh.untilPod(NS, 'early', 'is Secured', (found) => found.state === 'Secured' && found.captured);
  });

  it('keeps flowing while the API server is away', async () => {
    const before = await counts(mesh, 'eager');
    await mesh.stopApiServer();
    // kubectl exec needs the API server: the client is asked again once it is back.
    await mesh.startApiServer();
    const later = await counts(mesh, 'eager');
    assert.equal(later.failed, before.failed);
    await until('new connections are answered', async () => (await counts(mesh, 'eager')).ok > later.ok + 20, {
      limitMs: 30_000,
    });
  });
});

function assertNothingReadable(captures: readonly NodeCapture[], addresses: readonly string[]): void {
  for (const { node, file } of captures) {
    assert.equal(file.includes(MARKER), false, `${node}: the marker was sent in the clear`);
    const report = analyseCapture(file, new Set(addresses));
    const readable = report.flows.flatMap((flow) => flow.readable);
    assert.deepEqual(readable, [], `${node}: readable bytes between enrolled pods`);
    assert.ok(
      report.flows.some((flow) => (flow.tls?.encryptedBytes ?? 0) > 0),
      `${node}: nothing encrypted was captured, so the capture proves nothing`,
    );
  }
}
