import assert from 'node:assert/strict';
import { TUNNEL_PORT } from '../../hack/demo/capture/analyse.ts';
import { parseFrame } from '../../hack/demo/capture/packet.ts';
import { readPcap } from '../../hack/demo/capture/pcap.ts';
import { meshCluster } from '../e2e/suite.ts';
import { createNamespace } from '../e2e/workloads.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { endChurn, prepareChurn, upheavals } from './churn.ts';
import { MARKER, startTraffic, visits } from './traffic.ts';

const NS = 'soak';
/** SOAK_MINUTES=30 for a long run; a day is 1440. */
const minutes = Number(process.env.SOAK_MINUTES || 3);

describe('a mesh in which something happens all the time', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await createNamespace(mesh, NS, 'ambient');
    await prepareChurn(mesh);
    await startTraffic(mesh, NS);
    await mesh.untilSecured(NS, 4);
  });

  after(async () => {
    await endChurn(mesh);
    await mesh.kubectl('delete', 'namespace', NS, '--wait=false');
  });

  it('R24 R25 no byte of members passes between nodes readable, and none of their connections fails', async function () {
    this.timeout((minutes + 15) * 60_000);
    const deadline = Date.now() + minutes * 60_000;
    const turns = upheavals(mesh);
    const happened = new Map<string, number>();
    let tunnelled = 0;
    for (const turn of endlessly(turns)) {
      // Each has happened once at least, however slow the machine.
      if (Date.now() > deadline && happened.size === turns.length) break;
      const recording = await mesh.record();
      await turn.happen();
      for (const { node, file, dropped } of await recording.end()) {
        assert.equal(dropped, 0, `${node}: packets were not recorded while ${turn.title}`);
        assert.ok(!file.includes(MARKER), `${node}: readable while ${turn.title}`);
        tunnelled += packetsTo(file, TUNNEL_PORT);
      }
      for (const [client, { failed, failures }] of await visits(mesh, NS)) {
        assert.equal(failed, 0, `${client}, while ${turn.title}: ${failures.join('; ')}`);
      }
      happened.set(turn.title, (happened.get(turn.title) ?? 0) + 1);
    }
    await mesh.untilSecured(NS, 4);
    const succeeded = [...(await visits(mesh, NS)).values()].reduce((sum, each) => sum + each.succeeded, 0);
    assert.ok(succeeded > 0 && tunnelled > 0, 'nothing was sent, so this shows nothing');
    const times = [...happened].map(([title, count]) => `${title} ${count}`).join(', ');
    console.log(`      ${minutes} min: ${succeeded} connections, ${tunnelled} packets to the tunnel port; ${times}`);
  });
});

function packetsTo(file: Buffer, port: number): number {
  const { linkType, packets } = readPcap(file);
  const frames = packets.map(({ frame }) => parseFrame(linkType, frame));
  return frames.filter((packet) => packet?.kind === 'tcp' && packet.destinationPort === port).length;
}

function* endlessly<T>(items: readonly T[]): Generator<T> {
  for (;;) yield* items;
}
