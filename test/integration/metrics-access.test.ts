import { match, rejects, strictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { systemNamespace } from '../../src/api/names.ts';
import type { ControlReplica } from '../../src/control/replica.ts';
import { scrape } from '../fixtures/scrape.ts';
import { ControlCluster } from './control-cluster.ts';

describe('R20 metrics of tulle-control', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let control: ControlReplica;

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    await cluster.namespace('monitoring', 'scraper', 'other');
    await cluster.api.apply(readFileSync('config/rbac/metrics-reader.yaml', 'utf8'));
    await cluster.api.kubectl(
      ...['create', 'clusterrolebinding', 'scraper', '--clusterrole=tulle-metrics-reader'],
      '--serviceaccount=monitoring:scraper',
    );
    control = await cluster.replica();
    await control.start();
  });

  after(() => cluster?.stop());

  const asked = async (token?: string) =>
    scrape({
      port: control.metricsPort,
      token,
      trust: { ca: await cluster.roots(), servername: `tulle-control.${systemNamespace}.svc` },
    });

  it('are given to whom the API server lets read them', async () => {
    const { status, text } = await asked(await cluster.token('monitoring', 'scraper', {}));
    strictEqual(status, 200);
    match(text, /^# TYPE tulle_/m);
  });

  it('are refused to others, saying what is missing', async () => {
    const nobody = await asked();
    strictEqual(nobody.status, 401);
    match(nobody.text, /Authorization: Bearer/);
    strictEqual((await asked('not.a.token')).status, 401);
    const other = await asked(await cluster.token('monitoring', 'other', {}));
    strictEqual(other.status, 403);
    match(other.text, /tulle-metrics-reader/);
  });

  it('are refused with a token that is for somebody else', async () => {
    const token = await cluster.token('monitoring', 'scraper', { audiences: ['vault'] });
    strictEqual((await asked(token)).status, 401);
  });

  it('are given for a token that is known also while somebody tries others', async () => {
    const token = await cluster.token('monitoring', 'scraper', {});
    strictEqual((await asked(token)).status, 200);
    const tries = await Promise.all([1, 2, 3, 4].map((turn) => asked(`forged.${turn}`)));
    const more = [...tries];
    while (more.at(-1)?.status !== 503) more.push(await asked(`forged.more.${more.length}`));
    strictEqual(more.length <= 12, true, 'the API server is asked a few times only');
    strictEqual((await asked(token)).status, 200);
  });

  it('are given without TLS where it is told of a port for that, and only there', async () => {
    strictEqual(control.plaintextMetricsPort, undefined);
    const plain = await cluster.replica('control-1', undefined, { plaintextMetricsPort: 0 });
    await plain.start();
    const page = (path: string) => fetch(`http://127.0.0.1:${plain.plaintextMetricsPort}${path}`);
    const response = await page('/metrics');
    strictEqual(response.status, 200);
    match(await response.text(), /^# TYPE tulle_/m);
    strictEqual((await page('/readyz')).status, 404);
    await plain.stop();
    await rejects(page('/metrics'));
  });
});
