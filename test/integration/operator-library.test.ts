import assert from 'node:assert/strict';
import type { KubeClient } from '../../src/kube/client/client.ts';
import { MeshOperator } from '../../src/kube/controller/mesh-operator.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { adminClient, eventually, kubeConfigFor } from './operator-cluster.ts';

const finalizer = 'example.org/test';
const foreign = 'example.org/foreign';

/** An operator written against the base library's own interface. */
class SmallOperator extends MeshOperator {
  readonly seen: string[] = [];
  failures = 1;

  protected override async init(): Promise<void> {
    const { group, plural } = await this.registerCustomResourceDefinition('crds/mesh.yaml');
    await this.watchResource(group, 'v1alpha1', plural, async (event) => {
      this.seen.push(`${event.type} ${event.meta.name}`);
      if (this.failures > 0) {
        this.failures -= 1;
        throw new Error('a passing trouble');
      }
      if (await this.handleResourceFinalizer(event, finalizer, async () => void this.seen.push('cleaned up'))) return;
      if (event.type === 'MODIFIED') await this.patchResourceStatus(event.meta, { observedGeneration: 42 });
    });
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
    const kubeConfig = kubeConfigFor(api, api.adminToken);
    operator = new SmallOperator({ kubeConfig, log: silentLog, fieldManager: 'test', setup: () => {} });
    await operator.start();
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  it('registers a definition, and gives an event again whose callback failed', async () => {
    await api.apply('{apiVersion: mesh.tulle.dev/v1alpha1, kind: Mesh, metadata: {name: small}}');
    await eventually(admin, path, (object) => object?.metadata.finalizers?.includes(finalizer) ?? false);
    assert.deepEqual(operator.seen.slice(0, 2), ['ADDED small', 'ADDED small']);
  });

  it('writes status where the base library does', async () => {
    await eventually<KubeObject & { status?: { observedGeneration?: number } }>(
      admin,
      path,
      (object) => object?.status?.observedGeneration === 42,
    );
  });

  it("takes its finalizer off after the clean-up, and never anybody else's", async () => {
    const patch = [{ op: 'add', path: '/metadata/finalizers/-', value: foreign }];
    await admin.patch(path, patch);
    await api.kubectl('delete', 'mesh', 'small', '--wait=false');
    const left = await eventually(
      admin,
      path,
      (object) => !(object?.metadata.finalizers ?? [finalizer]).includes(finalizer),
    );
    assert.deepEqual(left?.metadata.finalizers, [foreign]);
    assert.ok(operator.seen.includes('cleaned up'));
    await admin.patch(path, [{ op: 'remove', path: '/metadata/finalizers' }]);
    await eventually(admin, path, (object) => object === undefined);
  });
});
