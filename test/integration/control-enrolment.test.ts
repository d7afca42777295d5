import { strictEqual } from 'node:assert/strict';
import { components, systemNamespace } from '../../src/api/names.ts';
import { addressType } from '../../src/xds/resource.ts';
import { ControlCluster } from './control-cluster.ts';
import { XdsProxy } from './xds-proxy.ts';

const web = 'Kubernetes//Pod/shop/web';

describe('R24 a running pod whose namespace is labelled', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let uid: string;
  const proxies: XdsProxy[] = [];

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({ mtls: { mode: 'Strict' } });
    uid = await cluster.pod({ name: 'web', ip: '10.1.0.1' });
  });

  after(async () => {
    for (const proxy of proxies) proxy.close();
    await cluster?.stop();
  });

  /** A proxy of a replica of its own, which has been told of everything. */
  async function proxyOfReplica(instance: string, acknowledges = true): Promise<XdsProxy> {
    await cluster.pod({ namespace: systemNamespace, name: instance, serviceAccount: components.control });
    const replica = await cluster.replica(instance);
    await replica.start();
    const [port = 0, roots, token] = [replica.grpcPort, await cluster.roots(), await cluster.proxyToken()];
    const proxy = new XdsProxy({ port, roots, token, acknowledges });
    proxies.push(proxy);
    void proxy.open();
    proxy.subscribe();
    return proxy;
  }

  const enrolling = (proxy: XdsProxy) => proxy.workloads.get(web)?.transition;
  const answer = (proxy: XdsProxy) => {
    const last = proxy.answers.at(-1);
    proxy.send({ typeUrl: last?.typeUrl ?? '', responseNonce: last?.nonce ?? '' });
  };

  it('is announced as being enrolled until the proxies of all replicas have answered that it is captured', async () => {
    const quick = await proxyOfReplica('control-a');
    const slow = await proxyOfReplica('control-b', false);
    await quick.until('the workload', () => quick.workloads.has(web));
    for (const type of ['policies', 'addresses']) {
      await slow.until(type, () => slow.answers.length > (type === 'policies' ? 0 : 1));
      answer(slow);
    }
    await cluster.admin.patch('/api/v1/namespaces/shop', {
      metadata: { labels: { 'mesh.tulle.dev/mode': 'ambient' } },
    });
    for (const proxy of [quick, slow]) await proxy.until('the label', () => enrolling(proxy) !== undefined);
    strictEqual(enrolling(quick)?.exemptPolicies.join(), `${systemNamespace}/strict-mtls`);
    answer(slow);

    const before = slow.answersOf(addressType).length;
    await cluster.report('node-1', { [uid]: true });
    await slow.until('the capture', () => slow.answersOf(addressType).length > before);
    // Another change is told to the quick one meanwhile: it is not the last word that is late.
    await cluster.pod({ name: 'other', ip: '10.1.0.2' });
    await quick.until('another pod', () => quick.workloads.has('Kubernetes//Pod/shop/other'));
    strictEqual(enrolling(quick) !== undefined, true, 'the proxy of the other replica has not answered');
    answer(slow);
    await quick.until('the end of the enrolment', () => enrolling(quick) === undefined);
  });
});
