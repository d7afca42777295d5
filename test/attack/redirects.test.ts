import assert from 'node:assert/strict';
import { parseFrame } from '../../hack/demo/capture/packet.ts';
import { readPcap } from '../../hack/demo/capture/pcap.ts';
import { until } from '../../hack/process.ts';
import { meshCluster } from '../e2e/suite.ts';
import { createNamespace, httpServer, pod, podAddress, setMode, waitReady } from '../e2e/workloads.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { attack, attackContainer, attacker, loadAttackImage } from './attacker.ts';

const INSIDE = 'attack';
const OUTSIDE = 'attack-outside';
const PORT = 8080;
/** The victim's probes ask here, and nowhere else. */
const PROBE_PORT = 8081;
const NODE_SOURCE = '169.254.7.127';
const ANSWERED = 'HTTP/1.1 200';

/** Whether a capture has a connection's first packet from a port to a port. */
function hasFirstPacket(file: Buffer, from: number, to: number): boolean {
  const { linkType, packets } = readPcap(file);
  return packets.some(({ frame }) => {
    const packet = parseFrame(linkType, frame);
    return packet?.kind === 'tcp' && packet.syn && packet.sourcePort === from && packet.destinationPort === to;
  });
}

describe('an enrolled pod in Strict, attacked by pods with a runtime’s default capabilities', () => {
  let mesh: MeshCluster;
  let victim: string;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await loadAttackImage(mesh);
    await createNamespace(mesh, INSIDE, 'ambient');
    await createNamespace(mesh, OUTSIDE);
    await mesh.apply([
      victimPod(),
      attacker({ name: 'member', namespace: INSIDE, node: 'node-1' }),
      attacker({ name: 'neighbour', namespace: OUTSIDE, node: 'node-2' }),
      attacker({ name: 'stranger', namespace: OUTSIDE, node: 'node-1' }),
      attacker({ name: 'on-host', namespace: OUTSIDE, node: 'node-2', hostNetwork: true }),
    ]);
    await waitReady(mesh, INSIDE, 'victim', 'member');
    await waitReady(mesh, OUTSIDE, 'neighbour', 'stranger', 'on-host');
    await mesh.untilSecured(INSIDE, 2);
    victim = await podAddress(mesh, INSIDE, 'victim');
    assert.equal(
      await attack(mesh, OUTSIDE, 'stranger', 'get', `${victim}:${PORT}`),
      ANSWERED,
      'Permissive lets it in',
    );
    await setMode(mesh, 'Strict');
    const refused = async () => (await attack(mesh, OUTSIDE, 'stranger', 'get', `${victim}:${PORT}`)) !== ANSWERED;
    await until('Strict is in force', refused, { limitMs: 30_000 });
    assert.equal(await attack(mesh, INSIDE, 'member', 'get', `${victim}:${PORT}`), ANSWERED, 'members are let in');
  });

  after(async () => {
    await setMode(mesh, 'Permissive');
    await mesh.kubectl('delete', 'namespace', INSIDE, OUTSIDE, '--wait=false');
  });

  /** A pod with an application, probes on a port of their own, and a witness of what comes from the node's address. */
  function victimPod(): object {
    const both = `${httpServer(PORT)}; ${httpServer(PROBE_PORT)}`;
    const made = pod({ name: 'victim', namespace: INSIDE, node: 'node-2', script: both, probePort: PROBE_PORT }) as {
      spec: { containers: object[] };
    };
    made.spec.containers.push(attackContainer(['count', NODE_SOURCE, String(PROBE_PORT)]));
    return made;
  }

  for (const name of ['neighbour', 'stranger']) {
    it(`R31 a bare ACK of a pod outside the mesh opens no way in (${name})`, async () => {
      const from = `${await podAddress(mesh, OUTSIDE, name)}:41000`;
      await attack(mesh, OUTSIDE, name, 'bare-ack', from, `${victim}:${PORT}`);
      for (const attempt of ['first', 'second']) {
        const outcome = await attack(mesh, OUTSIDE, name, 'get', '-from', from, `${victim}:${PORT}`);
        assert.match(outcome, /^(refused|reset|timeout)$/, attempt);
      }
    });
  }

  it('R31 a bare ACK of a member opens no way past its own proxy', async () => {
    const from = `${await podAddress(mesh, INSIDE, 'member')}:41000`;
    const recording = await mesh.record();
    await attack(mesh, INSIDE, 'member', 'bare-ack', from, `${victim}:${PORT}`);
    // Refused where the forged connection is still held; through the tunnel once it is not.
    const outcome = await attack(mesh, INSIDE, 'member', 'get', '-from', from, `${victim}:${PORT}`);
    assert.match(outcome, new RegExp(`^(refused|timeout|${ANSWERED})$`));
    for (const { node, file } of await recording.end()) {
      assert.ok(!hasFirstPacket(file, 41000, PORT), `${node}: the connection left the pod past the proxy`);
    }
  });

  for (const mark of [0x539, 0x111]) {
    it(`R31 the packet mark ${mark} opens no way past the proxy`, async () => {
      // Strict would refuse what comes in plaintext: an answer has come through the tunnel.
      const outcome = await attack(mesh, INSIDE, 'member', 'get', '-mark', String(mark), `${victim}:${PORT}`);
      if (mark === 0x539) assert.equal(outcome, ANSWERED);
      else assert.notEqual(outcome, ANSWERED, 'this mark leads back into the pod itself');
    });
  }

  it('R31 a pod cannot share the proxy’s ports', async () => {
    const own = await podAddress(mesh, INSIDE, 'member');
    for (const port of [15001, 15006, 15008]) {
      for (const host of ['0.0.0.0', '[::]', own]) {
        assert.equal(await attack(mesh, INSIDE, 'member', 'listen', `${host}:${port}`), 'in use', `${host}:${port}`);
      }
    }
  });

  it('R32 a pod of the same node cannot pass for the node', async () => {
    const seen = () => mesh.kubectl('-n', INSIDE, 'logs', 'victim', '-c', 'attack');
    await attack(mesh, OUTSIDE, 'neighbour', 'bare-ack', `${NODE_SOURCE}:41001`, `${victim}:${PROBE_PORT}`);
    const before = (await seen()).split('\n').length;
    // The kubelet's next probe comes after what was forged.
    const probed = async () => (await seen()).split('\n').length > before;
    await until('the kubelet probes again', probed, { limitMs: 30_000 });
    assert.ok(!(await seen()).includes(':41001'), 'the forged packet arrived');
  });

  it('R32 a probe of another pod’s address reaches no port that pod does not declare', async () => {
    const probing = pod({ name: 'probing', namespace: OUTSIDE, node: 'node-2', script: httpServer() }) as {
      spec: { containers: Record<string, unknown>[] };
    };
    const [container] = probing.spec.containers;
    assert.ok(container);
    container.readinessProbe = { httpGet: { host: victim, port: PORT, path: '/' }, periodSeconds: 1 };
    await mesh.apply([probing]);
    const events = () => mesh.kubectl('-n', OUTSIDE, 'get', 'events', '-o', 'jsonpath={.items[*].message}');
    await until('the probe has failed', async () => (await events()).includes('Readiness probe failed'), {
      limitMs: 60_000,
      explain: events,
    });
    const path = 'jsonpath={.status.containerStatuses[0].ready}';
    assert.equal(await mesh.kubectl('-n', OUTSIDE, 'get', 'pod', 'probing', '-o', path), 'false');
  });

  it('R32 a pod on the node’s network reaches the probe port and no other', async () => {
    assert.equal(await attack(mesh, OUTSIDE, 'on-host', 'get', `${victim}:${PROBE_PORT}`), ANSWERED);
    assert.match(await attack(mesh, OUTSIDE, 'on-host', 'get', `${victim}:${PORT}`), /^(refused|reset|timeout)$/);
  });

  it('R31 after all this both pods are still Secured, and the victim was never restarted', async () => {
    await mesh.untilSecured(INSIDE, 2);
    const path = 'jsonpath={.status.containerStatuses[*].restartCount}';
    assert.equal(await mesh.kubectl('-n', INSIDE, 'get', 'pod', 'victim', '-o', path), '0 0');
  });
});
