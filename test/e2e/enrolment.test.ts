import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';
import { createNamespace, get, httpServer, idle, pod, podAddress, runIn, service, waitReady } from './workloads.ts';

const NS = 'enrolment';

describe('enrolment by label', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS);
    await mesh.apply([
      service(NS, 'server', 80, 8080),
      pod({ name: 'server', namespace: NS, node: 'node-2', script: httpServer(), probePort: 8080 }),
      pod({ name: 'client', namespace: NS, node: 'node-1', script: idle }),
      pod({ name: 'left-out', namespace: NS, node: 'node-1', script: idle, labels: { 'mesh.tulle.dev/mode': 'none' } }),
      pod({ name: 'on-host', namespace: NS, node: 'node-1', script: idle, hostNetwork: true }),
      pod({ name: 'own-tunnel', namespace: NS, node: 'node-1', script: httpServer(15008) }),
      pod({ name: 'host-port', namespace: NS, node: 'node-1', script: httpServer(), hostPort: 18080 }),
    ]);
    await waitReady(mesh, NS, 'server', 'client', 'left-out', 'on-host', 'own-tunnel', 'host-port');
    await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode=ambient');
  });

  after(() => mesh?.kubectl('delete', 'namespace', NS, '--wait=false'));

  it('secures running pods and says so per pod, without restarting them', async () => {
    for (const name of ['server', 'client']) {
      await mesh.untilPod(NS, name, 'is Secured', (found) => found.state === 'Secured' && found.captured);
    }
    const restarts = await mesh.kubectl(
      ...['-n', NS, 'get', 'pods', '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}'],
    );
    assert.deepEqual(new Set(restarts.trim().split(' ')), new Set(['0']));
  });

  it('keeps the client’s address, by pod address and by Service', async () => {
    const client = await podAddress(mesh, NS, 'client');
    const server = await podAddress(mesh, NS, 'server');
    const answer = (url: string) => get(mesh, NS, 'client', url);
    assert.match(await answer(`http://${server}:8080/`), new RegExp(`^200 (::ffff:)?${client}$`));
    assert.match(await answer('http://server/'), new RegExp(`^200 (::ffff:)?${client}$`));
  });

  it('names the reason why a pod is outside: host network, own listener on 15008', async () => {
    const onHost = await mesh.untilPod(NS, 'on-host', 'is Failed', (found) => found.state === 'Failed');
    assert.equal(onHost.reason, 'HostNetwork');
    const ownTunnel = await mesh.untilPod(NS, 'own-tunnel', 'is Failed', (found) => found.state === 'Failed');
    assert.equal(ownTunnel.reason, 'PortInUse');
    assert.match(ownTunnel.message, /15008/);
    assert.equal(ownTunnel.captured, false);
  });

  it('enrols a pod with a hostPort, which still answers on it', async () => {
    await mesh.untilPod(NS, 'host-port', 'is Secured', (found) => found.state === 'Secured');
    const answer = await runIn(
      mesh,
      NS,
      'on-host',
      `fetch('http://${mesh.node('node-1').address}:18080/').then((r) => r.text()).then(console.log, (e) => console.log('' + e.cause))`,
    );
    assert.match(answer, /\d+\.\d+\.\d+\.\d+/);
  });

  it('R40 leaves out a pod whose own label says none, and says so', async () => {
    const out = await mesh.untilPod(NS, 'left-out', 'is OptedOut', (found) => found.state === 'OptedOut');
    assert.deepEqual([out.captured, out.reason], [false, 'PodLabel']);
  });

  it('reports a mistyped mode as a warning on the namespace, with the valid values', async () => {
    await createNamespace(mesh, 'mistyped', 'ambiant');
    await until(
      'the Event is there',
      async () => {
        const events = await mesh.json<{ items: { type: string; note?: string; message?: string }[] }>(
          ...['get', 'events', '-A', '--field-selector', 'involvedObject.kind=Namespace,involvedObject.name=mistyped'],
        );
        return events.items.some(
          (event) => event.type === 'Warning' && /ambiant.*ambient.*none/s.test(event.message ?? event.note ?? ''),
        );
      },
      { limitMs: 30_000 },
    );
    await mesh.kubectl('delete', 'namespace', 'mistyped', '--wait=false');
  });

  it('converges when a namespace is labelled and unlabelled ten times in a row', async () => {
    for (let i = 0; i < 10; i++) {
      await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode-');
      await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode=ambient');
    }
    await mesh.untilPod(NS, 'client', 'is Secured', (found) => found.state === 'Secured' && found.captured);
    await mesh.untilPod(NS, 'server', 'is Secured', (found) => found.state === 'Secured' && found.captured);
    assert.match(await get(mesh, NS, 'client', 'http://server/'), /^200 /);
  });

  it('leaves nothing in a pod when the label is taken away', async () => {
    await mesh.kubectl('label', 'namespace', NS, 'mesh.tulle.dev/mode-');
    await until('no pod is reported', async () => (await mesh.enrolment(NS)).size === 0, { limitMs: 60_000 });
    const uid = await mesh.kubectl('-n', NS, 'get', 'pod', 'client', '-o', 'jsonpath={.metadata.uid}');
    const inPod = await mesh.onNode(
      mesh.node('node-1'),
      ...([
        'sh',
        '-c',
        insidePod(uid.trim(), 'nft list ruleset; ip rule show; ip route show table 100 2>/dev/null'),
      ] as const),
    );
    assert.match(inPod, /lookup local/, 'the look went into the pod');
    assert.doesNotMatch(inPod, /tulle|0x111|lookup 100|dev lo/);
    assert.match(await get(mesh, NS, 'client', 'http://server/'), /^200 /);
  });
});

/** A shell command that runs another in the network namespace of the pod with this UID. */
function insidePod(uid: string, command: string): string {
  return `pid=$(grep -l 'pod${uid}' /proc/[0-9]*/cgroup | head -n1 | cut -d/ -f3); nsenter -t $pid -n sh -c '${command}'`;
}
