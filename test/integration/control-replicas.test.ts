import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict';
import { TunnelProtocol } from '../../proto/gen/istio/workload/workload_pb.js';
import type { MeshNode } from '../../src/api/mesh-node.ts';
import { meshNodesPath } from '../../src/api/names.ts';
import type { ControlReplica } from '../../src/control/replica.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { addressType } from '../../src/xds/resource.ts';
import { ControlCluster } from './control-cluster.ts';
import { eventually, installConfig, startOperator } from './operator-cluster.ts';
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

  describe('R35 of a captured pod whose MeshNode is deleted while its agent is down', () => {
    const web = 'Kubernetes//Pod/shop/web';
    const path = `${meshNodesPath}/node-1`;
    let operator: MeshOperator;
    let uid: string;

    before(async () => {
      uid = await cluster.podUid('shop', 'web');
      await installConfig(cluster.api);
      operator = await startOperator(cluster.api);
      await eventually<MeshNode>(cluster.admin, path, (meshNode) => meshNode?.metadata.ownerReferences !== undefined);
      await cluster.report('node-1', { [uid]: true });
    });

    after(async () => {
      await operator?.stop();
    });

    async function watching(replica: ControlReplica): Promise<XdsProxy> {
      const proxy = await proxyOf(replica);
      void proxy.open();
      proxy.subscribe();
      await proxy.until('both types', () => proxy.versions.size === 2);
      return proxy;
    }

    const isTunnelled = (proxy: XdsProxy) => proxy.workloads.get(web)?.tunnelProtocol === TunnelProtocol.HBONE;

    it('all replicas say the same, also one that is started afterwards', async () => {
      const before = await watching(await started('control-e'));
      const restarted = await started('control-f');
      await before.until('the tunnel', () => isTunnelled(before));
      await cluster.admin.delete(path);
      await eventually<MeshNode>(cluster.admin, path, (meshNode) => meshNode?.metadata.deletionTimestamp !== undefined);
      await restarted.stop();
      const after = await watching(await started('control-g'));
      deepStrictEqual([isTunnelled(before), isTunnelled(after)], [true, true]);
    });

    it('an Event on it says why it stays, and what to do', async () => {
      const { note } = await cluster.event('MeshNode', 'node-1');
      match(note, /captured/);
      match(note, /drain/);
    });

    it('its agent goes on reporting to it, and it is made anew when no captured pod is left', async () => {
      const { metadata } = await cluster.admin.get<MeshNode>(path);
      const all = await watching(await started('control-h'));
      await cluster.report('node-1', { [uid]: false });
      await all.until('the end of the tunnel', () => !isTunnelled(all));
      const isNew = (meshNode: MeshNode | undefined) =>
        meshNode !== undefined &&
        meshNode.metadata.uid !== metadata.uid &&
        meshNode.metadata.deletionTimestamp === undefined;
      await eventually<MeshNode>(cluster.admin, path, isNew);
    });

    it('one that is captured no longer because it has ended keeps it no longer', async () => {
      await cluster.report('node-1', { [uid]: true });
      const { metadata } = await cluster.admin.get<MeshNode>(path);
      await cluster.admin.delete(path);
      await cluster.removePod('shop', 'web');
      await eventually<MeshNode>(
        cluster.admin,
        path,
        (meshNode) => meshNode !== undefined && meshNode.metadata.uid !== metadata.uid,
      );
    });
  });
});
