import assert from 'node:assert/strict';
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

  it(`R24 R25 no byte between members can be read and none of their connections fails`, async function () {
    this.timeout((minutes + 15) * 60_000);
    const deadline = Date.now() + minutes * 60_000;
    const happened = new Map<string, number>();
    let encrypted = 0;
    for (const turn of endlessly(upheavals(mesh))) {
      if (Date.now() > deadline) break;
      const recording = await mesh.record();
      await turn.happen();
      for (const { node, file } of await recording.end()) {
        assert.ok(!file.includes(MARKER), `${node}: readable while ${turn.title}`);
        encrypted += file.length;
      }
      for (const [client, { failed, failures }] of await visits(mesh, NS)) {
        assert.equal(failed, 0, `${client}, while ${turn.title}: ${failures.join('; ')}`);
      }
      happened.set(turn.title, (happened.get(turn.title) ?? 0) + 1);
    }
    await mesh.untilSecured(NS, 4);
    const succeeded = [...(await visits(mesh, NS)).values()].reduce((sum, each) => sum + each.succeeded, 0);
    assert.ok(succeeded > 0 && encrypted > 0, 'nothing was sent, so this shows nothing');
    const turns = [...happened].map(([title, times]) => `${title} ${times}`).join(', ');
    console.log(`      ${minutes} min: ${succeeded} connections, ${encrypted} bytes recorded; ${turns}`);
  });
});

function* endlessly<T>(items: readonly T[]): Generator<T> {
  for (;;) yield* items;
}
