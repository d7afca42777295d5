import assert from 'node:assert/strict';
import { withPatience } from '../../hack/demo/patience.ts';
import { judge } from '../../hack/demo/promises.ts';
import { applyShop, SHOP } from '../../hack/demo/shop.ts';
import { watchLabel } from '../../hack/demo/watch.ts';
import { until } from '../../hack/process.ts';
import type { MeshCluster } from '../fixtures/mesh-cluster.ts';
import { meshCluster } from './suite.ts';

const OUTAGE_MS = 60_000;

describe('the main job, on the shop of the demo', () => {
  let mesh: MeshCluster;

  before(async function () {
    this.timeout(900_000);
    mesh = await meshCluster();
    await applyShop(mesh.demo, () => {});
  });

  after(() => mesh?.kubectl('delete', 'namespace', SHOP, '--wait=false'));

  it('keeps every promise of the demo, though the API server is away for a minute in the middle of it', async () => {
    const [facts] = await Promise.all([watchLabel(withPatience(mesh.demo)), outage()]);
    const findings = judge(facts);
    const broken = findings.filter(({ holds }) => !holds);
    assert.deepEqual(broken, []);
    assert.ok(findings.length > 0);
  });

  /** Stops the API server as soon as a first pod is captured, for a minute. */
  async function outage(): Promise<void> {
    await until(
      'a pod of the shop is captured',
      async () => [...(await mesh.enrolment(SHOP)).values()].some((pod) => pod.captured),
      { limitMs: 120_000 },
    );
    await mesh.stopApiServer();
    const begun = Date.now();
    await until('the minute is over', () => Date.now() - begun > OUTAGE_MS, { limitMs: 2 * OUTAGE_MS });
    await mesh.startApiServer();
  }
});
