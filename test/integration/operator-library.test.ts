import assert from 'node:assert/strict';
import type { Mesh } from '../../src/api/mesh.ts';
import type { KubeClient } from '../../src/kube/client/client.ts';
import { KubeOperator } from '../../src/kube/controller/operator.ts';
import { Requeue } from '../../src/kube/controller/reconciler.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { adminClient, eventually, installConfig, kubeConfigFor } from './operator-cluster.ts';

const finalizer = 'example.org/test';
const foreign = 'example.org/foreign';
const accepted = { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'The spec is in effect.' } as const;

/** An operator written against the library's own interface. */
class SmallOperator extends KubeOperator {
  readonly seen: string[] = [];
  failures = 1;
  unfinished = 2;

  protected override async init(): Promise<void> {
    await this.watchResource('mesh.tulle.dev', 'v1alpha1', 'meshes', async (event) => {
      this.seen.push(`${event.type} ${event.meta.name}`);
      if (this.failures > 0) {
        this.failures -= 1;
        throw new Error('a passing trouble');
      }
      if (await this.handleResourceFinalizer(event, finalizer, () => this.#cleanUp())) return;
      if (event.type === 'MODIFIED') await this.setResourceStatus(event.meta, { conditions: [accepted] });
    });
  }

  async #cleanUp(): Promise<void> {
    this.unfinished -= 1;
    if (this.unfinished >= 0) throw new Requeue(10);
    this.seen.push('cleaned up');
  }
}

describe('the operator library on our reflector and queues', () => {
  const path = '/apis/mesh.tulle.dev/v1alpha1/meshes/small';
  let api: ApiServer;
  let admin: KubeClient;
  let operator: SmallOperator;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    const kubeConfig = kubeConfigFor(api, api.adminToken);
    operator = new SmallOperator({ kubeConfig, log: silentLog, fieldManager: 'test' });
    await operator.start();
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  it('gives an event again whose callback failed', async () => {
    await api.apply('{apiVersion: mesh.tulle.dev/v1alpha1, kind: Mesh, metadata: {name: small}}');
    await eventually(admin, path, (object) => object?.metadata.finalizers?.includes(finalizer) ?? false);
    assert.deepEqual(operator.seen.slice(0, 2), ['ADDED small', 'ADDED small']);
  });

  it('applies the status, once', async () => {
    const written = await eventually<Mesh>(admin, path, (object) => object?.status?.conditions !== undefined);
    await api.kubectl('annotate', 'mesh', 'small', 'example.org/looked=at');
    await operator.settled();
    const { lastTransitionTime: _, ...condition } = written?.status?.conditions?.[0] ?? {};
    assert.deepEqual(condition, accepted);
    const applied = (await admin.get<Mesh>(path)).metadata.managedFields?.filter(({ manager }) => manager === 'test');
    assert.deepEqual(applied?.map(({ subresource }) => subresource).filter(Boolean), ['status']);
  });

  it("takes its finalizer off when the clean-up has come to its end, and never anybody else's", async () => {
    const patch = [{ op: 'add', path: '/metadata/finalizers/-', value: foreign }];
    await admin.patch(path, patch);
    await api.kubectl('delete', 'mesh', 'small', '--wait=false');
    const left = await eventually(
      admin,
      path,
      (object) => !(object?.metadata.finalizers ?? [finalizer]).includes(finalizer),
    );
    assert.deepEqual(left?.metadata.finalizers, [foreign]);
    assert.deepEqual([operator.seen.includes('cleaned up'), operator.unfinished], [true, -1]);
    await admin.patch(path, [{ op: 'remove', path: '/metadata/finalizers' }]);
    await eventually(admin, path, (object) => object === undefined);
  });
});
