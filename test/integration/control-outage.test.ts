import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import { addressType, authorizationType } from '../../src/xds/resource.ts';
import { ControlCluster } from './control-cluster.ts';
import { DoubtfulClient, doubts } from './doubtful-client.ts';
import { XdsProxy } from './xds-proxy.ts';

const workload = (name: string) => `Kubernetes//Pod/shop/${name}`;

describe('R16 while the API server is away, and when it is back,', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let client: DoubtfulClient;
  let proxy: XdsProxy;
  let end: Promise<unknown>;

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({ mtls: { mode: 'Strict' } });
    const uid = await cluster.pod({ name: 'web', ip: '10.1.0.1', labels: { app: 'first' } });
    const replica = await cluster.replica('control-0', (file) => {
      client = DoubtfulClient.of(file);
      return client;
    });
    await replica.start();
    ok(replica.grpcPort !== undefined);
    const token = await cluster.proxyToken();
    proxy = new XdsProxy({ port: replica.grpcPort, roots: await cluster.roots(), token });
    end = proxy.open();
    proxy.subscribe();
    await proxy.until('both types', () => proxy.versions.size === 2);
    await cluster.report('node-1', { [uid]: true });
    await cluster.pod({ name: 'fleeting', ip: '10.1.0.7' });
    await proxy.until('all pods', () => proxy.workloads.has(workload('fleeting')));
    await cluster.admin.patch('/api/v1/namespaces/shop/pods/web', { metadata: { labels: { app: 'second' } } });
    await cluster.removePod('shop', 'fleeting');
    await proxy.until('its end', () => !proxy.workloads.has(workload('fleeting')));
    await proxy.until('its name', () => proxy.workloads.get(workload('web'))?.canonicalName === 'second');
  });

  after(async () => {
    proxy?.close();
    await cluster?.stop();
  });

  for (const [index, doubt] of doubts.entries()) {
    it(`with ${doubt}, no workload is removed, none goes back, and policy stays`, async () => {
      const before = proxy.answers.length;
      const known = structuredClone(proxy.versions);
      client.doubt(doubt);
      await cluster.api.pause();
      await until('control has noticed, and tried again', () => client.failures >= 2, { limitMs: 30_000, everyMs: 50 });
      strictEqual(proxy.answers.length, before, 'nothing is told meanwhile');
      strictEqual(await Promise.race([end, Promise.resolve('open')]), 'open', 'the stream stays');

      await cluster.api.resume();
      await until('control has been told it', () => client.toDoubt === 0, { limitMs: 30_000, everyMs: 50 });
      await cluster.podStatus('shop', 'web', `10.1.1.${index}`);
      const address = () => proxy.workloads.get(workload('web'))?.addresses[0];
      await proxy.until('what changed afterwards', () => address()?.join('.') === `10.1.1.${index}`);

      const answers = proxy.answers.slice(before);
      deepStrictEqual(
        answers.flatMap(({ resources, removedResources }) => [
          ...resources.map(({ name }) => name),
          ...removedResources,
        ]),
        [workload('web')],
        'the one change is all that was told',
      );
      deepStrictEqual(proxy.versions.get(authorizationType), known.get(authorizationType));
      deepStrictEqual(
        [...(proxy.versions.get(addressType)?.keys() ?? [])].sort(),
        [...(known.get(addressType)?.keys() ?? [])].sort(),
      );
    });
  }
});
