import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import type { ControlReplica } from '../../src/cmd/control/replica.ts';
import { addressType } from '../../src/xds/resource.ts';
import { ControlCluster } from './control-cluster.ts';
import { XdsProxy } from './xds-proxy.ts';

describe('replicas of tulle-control', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  const proxies: XdsProxy[] = [];

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    await cluster.pod({ name: 'web', ip: '10.1.0.1' });
  });

  after(async () => {
    for (const proxy of proxies) proxy.close();
    await cluster?.stop();
  });

  async function started(instance: string): Promise<ControlReplica> {
    const replica = await cluster.replica(instance);
    await replica.start();
    return replica;
  }

  async function proxyOf({ grpcPort }: ControlReplica): Promise<XdsProxy> {
    ok(grpcPort !== undefined);
    const proxy = new XdsProxy({ port: grpcPort, roots: await cluster.roots(), token: await cluster.proxyToken() });
    proxies.push(proxy);
    return proxy;
  }

  async function readiness({ httpPort }: ControlReplica): Promise<[number, string]> {
    const response = await fetch(`http://127.0.0.1:${httpPort}/readyz`);
    return [response.status, await response.text()];
  }

  it('agree on every version, so that a proxy that changes over is sent nothing twice', async () => {
    const [first, second] = [await started('control-a'), await started('control-b')];
    const before = await proxyOf(first);
    const end = before.open();
    before.subscribe();
    await before.until('both types', () => before.versions.size === 2);

    const leaving = first.stop();
    deepStrictEqual(await end, { status: 'OK', details: '' });
    await leaving;

    const after = await proxyOf(second);
    for (const [type, versions] of before.versions) after.versions.set(type, versions);
    void after.open();
    after.subscribe();
    const { resources, removedResources } = await after.next(addressType);
    deepStrictEqual([resources.length, removedResources], [0, []]);
  });

  it('say what they wait for while they are not ready, and are not ready once they leave', async () => {
    const replica = await cluster.replica('control-c');
    await cluster.api.pause();
    const starting = replica.start();
    while (replica.httpPort === undefined) await new Promise((resolve) => setImmediate(resolve));
    const [status, text] = await readiness(replica);
    strictEqual(status, 503);
    match(text, /model: not known yet: .*\/api\/v1\/pods/);
    strictEqual(replica.grpcPort, undefined, 'nobody is served');
    await cluster.api.resume();
    await starting;
    strictEqual((await readiness(replica))[0], 200);
  });

  it('let go when they are told to before they have begun', async () => {
    const replica = await cluster.replica('control-d');
    const starting = replica.start();
    await replica.stop();
    await starting;
  });
});
