import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { Mesh } from '../../src/api/mesh.ts';
import type { ControlReplica } from '../../src/control/replica.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { ConfigMap, KubeObject, Lease } from '../../src/kube/objects.ts';
import { CertificateClient } from '../fixtures/ca/certificate-client.ts';
import { encoded, storedRoot } from '../fixtures/ca/stored-authorities.ts';
import { ControlCluster } from './control-cluster.ts';
import { eventually } from './operator-cluster.ts';
import { XdsProxy } from './xds-proxy.ts';

interface Secret extends KubeObject {
  readonly data: Record<string, string>;
}

interface RecordedEvent extends KubeObject {
  readonly reason: string;
  readonly type: string;
  readonly note: string;
  readonly regarding: { readonly kind: string; readonly name: string };
}

const meshPath = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const secretsPath = '/api/v1/namespaces/tulle-system/secrets';
const secretPath = `${secretsPath}/tulle-ca`;
const bundlePath = '/api/v1/namespaces/tulle-system/configmaps/tulle-trust-bundle';
const leasePath = '/apis/coordination.k8s.io/v1/namespaces/tulle-system/leases/tulle-control';
const identity = 'spiffe://cluster.local/ns/shop/sa/default';

describe('a mesh whose authority is lost', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;
  let running: ControlReplica;
  let late: ControlReplica;
  let proxy: XdsProxy;
  let certificates: CertificateClient;
  let token: string;
  let secret: Secret;
  let bundle: string;
  let reported: NonNullable<Mesh['status']>['authority'];

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    await cluster.pod({ name: 'web', ip: '10.1.0.1' });
    running = await cluster.replica('control-a');
    await running.start();
    ok(running.grpcPort !== undefined);
    token = await cluster.proxyToken();
    bundle = await cluster.roots();
    proxy = new XdsProxy({ port: running.grpcPort, roots: bundle, token });
    certificates = new CertificateClient(running.grpcPort, bundle);
    const served = await eventually<Mesh>(cluster.admin, meshPath, says('True', 'Serving'));
    reported = served?.status?.authority;
    ok(reported !== undefined);
    secret = await cluster.admin.get<Secret>(secretPath);
  });

  after(async () => {
    proxy?.close();
    certificates?.close();
    await cluster?.stop();
  });

  const says = (status: string, reason: string) => (mesh: Mesh | undefined) => {
    const condition = findCondition(mesh?.status?.conditions, 'AuthorityReady');
    return condition?.status === status && condition.reason === reason;
  };
  const leads = (identity: string) => (lease: Lease | undefined) => lease?.spec?.holderIdentity === identity;
  const isBundle = (object: ConfigMap | undefined) => object?.data?.['root-cert.pem'] === bundle;

  async function readiness({ httpPort }: ControlReplica, query = ''): Promise<[number, string]> {
    const response = await fetch(`http://127.0.0.1:${httpPort}/readyz${query}`);
    return [response.status, await response.text()];
  }

  /** Resolves when a replica that starts has looked, and refused. */
  async function refusal(replica: ControlReplica): Promise<void> {
    const refused = async () => {
      const [, text] = replica.httpPort === undefined ? [] : await readiness(replica);
      return text?.includes('authority: The Secret tulle-ca is gone') === true;
    };
    await until('the replica that starts has refused', refused, { limitMs: 20_000, everyMs: 50 });
  }

  async function restore(): Promise<void> {
    await cluster.admin.create(secretsPath, { metadata: { name: 'tulle-ca' }, data: secret.data });
  }

  it('R15 given the Secret and the bundle both vanish, then no second root is made, and the Mesh says so in condition and Event', async () => {
    await eventually<Lease>(cluster.admin, leasePath, leads('control-a'));
    await cluster.admin.delete(bundlePath);
    await cluster.admin.delete(secretPath);
    const mesh = await eventually<Mesh>(cluster.admin, meshPath, says('False', 'AuthorityLost'));
    match(findCondition(mesh?.status?.conditions, 'AuthorityReady')?.message ?? '', /Restore the Secret tulle-ca/);
    deepStrictEqual(mesh?.status?.authority, reported, 'the evidence stays');
    const { items } = await cluster.admin.list<RecordedEvent>('/apis/events.k8s.io/v1/namespaces/default/events');
    const event = items.find(({ reason }) => reason === 'AuthorityLost');
    deepStrictEqual([event?.type, event?.regarding.kind, event?.regarding.name], ['Warning', 'Mesh', 'default']);
    match(event?.note ?? '', /To start over .*delete the Mesh and create it again/);
    await eventually<ConfigMap>(cluster.admin, bundlePath, isBundle);
  });

  it('R11 the replica that still holds it signs nothing, does not lead, and tells proxies of the mesh', async () => {
    const { refused } = await certificates.ask({ token, identity });
    strictEqual(refused?.status, 'UNAVAILABLE');
    match(refused.details, /tulle-ca is gone/);
    const [status, text] = await readiness(running);
    strictEqual(status, 503);
    match(text, /^issuance: The Secret tulle-ca is gone/m);
    strictEqual((await readiness(running, '?exclude=issuance'))[0], 200, 'the probe leaves it in the Service');
    await eventually<Lease>(cluster.admin, leasePath, leads(''));
    void proxy.open();
    proxy.subscribe();
    await proxy.until('the mesh is told', () => proxy.workloads.has('Kubernetes//Pod/shop/web'));
  });

  it('R15 a replica that starts makes none either, does not serve, does not lead, and all goes on with the restored Secret', async () => {
    late = await cluster.replica('control-b');
    const starting = late.start();
    await refusal(late);
    strictEqual(await cluster.admin.find(secretPath), undefined);
    ok(leads('')(await cluster.admin.get<Lease>(leasePath)));
    await restore();
    await starting;
    await eventually<Mesh>(cluster.admin, meshPath, says('True', 'Serving'));
    strictEqual((await readiness(running))[0], 200);
    strictEqual((await readiness(late))[0], 200);
    ok((await certificates.ask({ token, identity })).chain);
    strictEqual(await cluster.roots(), bundle);
  });

  it('R11 given another authority in its place, then nobody signs with either until the right one is back', async () => {
    const another = Buffer.from(encoded(storedRoot())).toString('base64');
    await cluster.admin.patch(secretPath, { data: { 'authority.json': another } });
    await eventually<Mesh>(cluster.admin, meshPath, says('False', 'AuthoritySwapped'));
    strictEqual((await certificates.ask({ token, identity })).refused?.status, 'UNAVAILABLE');
    strictEqual(await cluster.roots(), bundle);
    await cluster.admin.delete(secretPath);
    await restore();
    await eventually<Mesh>(cluster.admin, meshPath, says('True', 'Serving'));
  });

  it('R15 given every replica is gone too, then one that starts goes by the Mesh, or by a node; with neither it begins anew', async () => {
    proxy.close();
    await Promise.all([running.stop(), late.stop()]);
    const trustBundleSha256 = reported?.bundleSha256 ?? '';
    const node = { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'MeshNode', metadata: { name: 'node-2' } };
    const status = { proxy: { version: '0.1.0', ready: true, trustBundleSha256 } };
    await cluster.admin.applyStatus({ ...node, status }, { fieldManager: 'tulle-agent' });
    await cluster.admin.delete(secretPath);
    await cluster.admin.delete(bundlePath);
    const byMesh = await cluster.replica('control-c');
    const starting = [byMesh.start()];
    await refusal(byMesh);

    await cluster.admin.delete(meshPath);
    await cluster.mesh({});
    const byNode = await cluster.replica('control-d');
    starting.push(byNode.start());
    await refusal(byNode);
    strictEqual(await cluster.admin.find(secretPath), undefined);

    // As when a Mesh is removed in order.
    for (const name of ['node-1', 'node-2']) {
      await cluster.admin.delete(`/apis/mesh.tulle.dev/v1alpha1/meshnodes/${name}`);
    }
    await Promise.all(starting);
    const mesh = await eventually<Mesh>(cluster.admin, meshPath, says('True', 'Serving'));
    const [root, ...more] = mesh?.status?.authority?.authorities ?? [];
    deepStrictEqual(more, []);
    notStrictEqual(root?.id, reported?.authorities[0]?.id);
  });
});
