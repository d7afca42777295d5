import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { until } from '../../hack/process.ts';
import { type Mesh, parseMeshSpec } from '../../src/api/mesh.ts';
import type { MeshNode } from '../../src/api/mesh-node.ts';
import { ApiError, type KubeClient } from '../../src/kube/client/client.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { ConfigMap, KubeObject } from '../../src/kube/objects.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { renderMesh } from '../../src/render/mesh-objects.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { agentClient, meshNode, podReport, reportPods } from './agents.ts';
import {
  adminClient,
  eventually,
  eventuallyEvent,
  installConfig,
  node,
  nodes,
  startOperator,
  surroundings,
  trustBundle,
  versionsOf,
} from './operator-cluster.ts';

const mesh = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const system = (group: string, plural: string, name: string) => `${group}/namespaces/tulle-system/${plural}/${name}`;
const absent = (object: unknown) => object === undefined;
const present = (object: unknown) => object !== undefined;

describe('the operator on a real API server', () => {
  let api: ApiServer;
  let admin: KubeClient;
  let operator: MeshOperator;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    await api.apply(nodes('node-1', 'node-2'));
    operator = await startOperator(api);
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  const says = (type: string, status: string, reason: string) => (object: Mesh | undefined) => {
    const condition = findCondition(object?.status?.conditions, type);
    return condition?.status === status && condition.reason === reason;
  };

  it('given a Mesh, then every object it stands for exists, applied with no more rights than config/ grants', async () => {
    await api.kubectl('apply', '-f', 'config/samples/mesh.yaml');
    await eventually<Mesh>(admin, mesh, says('Accepted', 'True', 'Accepted'));
    const { spec } = parseMeshSpec({});
    assert.ok(spec);
    for (const object of renderMesh(spec, surroundings, 'default')) {
      const found = await eventually(admin, await admin.pathOf(object), present);
      assert.equal(found?.metadata.labels?.['mesh.tulle.dev/mesh'], 'default');
    }
    const ready = await eventually<Mesh>(admin, mesh, says('Ready', 'False', 'RollingOut'));
    assert.deepEqual(ready?.status?.rollout?.control, { ready: 0, desired: 2 });
    assert.deepEqual(ready?.metadata.finalizers, ['mesh.tulle.dev/mesh']);
  });

  it('given Nodes, then each has a MeshNode that it owns, with the finalizer also where it was taken off', async () => {
    for (const name of ['node-1', 'node-2']) {
      const found = await eventually<MeshNode>(admin, meshNode(name), present);
      assert.deepEqual(found?.metadata.finalizers, ['mesh.tulle.dev/captured-pods']);
      const node = await admin.get<KubeObject>(`/api/v1/nodes/${name}`);
      assert.equal(found?.metadata.ownerReferences?.[0]?.uid, node.metadata.uid);
    }
    await admin.patch(meshNode('node-1'), { metadata: { finalizers: ['example.org/foreign'] } });
    await eventually<MeshNode>(admin, meshNode('node-1'), (object) => object?.metadata.finalizers?.length === 2);
    await admin.patch(meshNode('node-1'), { metadata: { finalizers: null } });
    await eventually<MeshNode>(admin, meshNode('node-1'), (object) => object?.metadata.finalizers?.length === 1);
  });

  it('given a Node without Linux, then it has no MeshNode, not even one that somebody made', async () => {
    await api.apply(JSON.stringify(node('windows-1', 'windows')));
    const { uid = '' } = (await admin.get<KubeObject>('/api/v1/nodes/windows-1')).metadata;
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: 'windows-1', uid }];
    const made = {
      apiVersion: 'mesh.tulle.dev/v1alpha1',
      kind: 'MeshNode',
      metadata: { name: 'windows-1', ownerReferences },
    };
    await api.apply(JSON.stringify(made));
    await eventually<MeshNode>(admin, meshNode('windows-1'), absent);
    await admin.patch('/api/v1/nodes/windows-1', { metadata: { labels: { 'kubernetes.io/os': 'linux' } } });
    await eventually<MeshNode>(admin, meshNode('windows-1'), present);
    await admin.delete('/api/v1/nodes/windows-1');
    await eventually<MeshNode>(admin, meshNode('windows-1'), absent);
  });

  it('given a Node made again under its name, then its MeshNode is another; given it is gone, then none', async () => {
    await api.apply(nodes('node-3'));
    const first = await eventually<MeshNode>(admin, meshNode('node-3'), present);
    await admin.delete('/api/v1/nodes/node-3');
    await eventually<MeshNode>(admin, meshNode('node-3'), absent);
    await api.apply(nodes('node-3'));
    const second = await eventually<MeshNode>(admin, meshNode('node-3'), present);
    assert.notEqual(second?.metadata.uid, first?.metadata.uid);
    const stale = [{ op: 'replace', path: '/metadata/ownerReferences/0/uid', value: 'of-a-node-before' }];
    await admin.patch(meshNode('node-3'), stale);
    const { uid } = (await admin.get<KubeObject>('/api/v1/nodes/node-3')).metadata;
    await eventually<MeshNode>(admin, meshNode('node-3'), (object) => {
      return object !== undefined && object.metadata.ownerReferences?.[0]?.uid === uid;
    });
    await admin.delete('/api/v1/nodes/node-3');
    await eventually<MeshNode>(admin, meshNode('node-3'), absent);
  });

  it('given the workloads report ready, then the Mesh is Ready', async () => {
    await rolledOut(admin);
    const ready = await eventually<Mesh>(admin, mesh, says('Ready', 'True', 'Ready'));
    assert.deepEqual(ready?.status?.rollout?.proxy, { ready: 2, desired: 2 });
  });

  it('of all parts control alone reads the key of the authority', async () => {
    const readers: string[] = [];
    for (const name of ['tulle-operator', 'tulle-control', 'tulle-agent', 'tulle-proxy']) {
      const as = `--as=system:serviceaccount:tulle-system:${name}`;
      const asked = api.kubectl('auth', 'can-i', 'get', 'secret/tulle-ca', '-n', 'tulle-system', as);
      if ((await asked.catch(() => 'no')).startsWith('yes')) readers.push(name);
    }
    assert.deepEqual(readers, ['tulle-control']);
  });

  it('an agent can write its own MeshNode, and no other', async () => {
    const agent = await agentClient(api, 'node-1');
    await until('the admission policy is in force', async () => forbidden(reportPods(agent, 'node-2', [])), {
      limitMs: 20_000,
    });
    await reportPods(agent, 'node-1', []);
    await agent.close();
  });

  it('given a labelled namespace, then the trust bundle is copied into it and its pods are counted', async () => {
    await api.kubectl('create', 'namespace', 'shop');
    await api.kubectl('label', 'namespace', 'shop', 'mesh.tulle.dev/mode=ambient');
    await admin.apply(trustBundle('first'), { fieldManager: 'tulle-control', force: true });
    const copy = '/api/v1/namespaces/shop/configmaps/tulle-trust-bundle';
    await eventually<ConfigMap>(admin, copy, (object) => object?.data?.['root-cert.pem'] === 'first');
    await admin.apply(trustBundle('second'), { fieldManager: 'tulle-control', force: true });
    await eventually<ConfigMap>(admin, copy, (object) => object?.data?.['root-cert.pem'] === 'second');

    const agent = await agentClient(api, 'node-1');
    await reportPods(agent, 'node-1', [podReport('web', 'Secured'), podReport('cart', 'Failed', 'PortInUse')]);
    const failed = await eventually<Mesh>(admin, mesh, says('Enrolled', 'False', 'PodsNotSecured'));
    assert.match(findCondition(failed?.status?.conditions, 'Enrolled')?.message ?? '', /shop\/cart \(PortInUse\)/);
    await reportPods(agent, 'node-1', [podReport('web', 'Secured'), podReport('cart', 'Secured')]);
    const secured = await eventually<Mesh>(admin, mesh, says('Enrolled', 'True', 'AllSecured'));
    assert.deepEqual(secured?.status?.enrolment, {
      namespaces: 1,
      pods: { secured: 2, pending: 0, failed: 0, optedOut: 0 },
    });
    await agent.close();
    const events = await eventuallyEvent(admin, 'shop', 'PodsSecured');
    assert.equal(events.note, 'All 2 pods are secured.');
  });

  it("given a namespace is taken out of the mesh, then the trust bundle goes from it, unless it is another's", async () => {
    const copy = '/api/v1/namespaces/out/configmaps/tulle-trust-bundle';
    await api.kubectl('create', 'namespace', 'out');
    await api.kubectl('label', 'namespace', 'out', 'mesh.tulle.dev/mode=ambient');
    await eventually(admin, copy, present);
    await api.kubectl('label', 'namespace', 'out', 'mesh.tulle.dev/mode=none', '--overwrite');
    await eventually(admin, copy, absent);
    await api.kubectl('-n', 'out', 'create', 'configmap', 'tulle-trust-bundle');
    await api.kubectl('label', 'namespace', 'out', 'touched=yes');
    await operator.settled();
    assert.ok(await admin.find(copy));
    await admin.delete(copy);
  });

  it('given a namespace with a typo in its label, then an Event on it names the valid values', async () => {
    await api.kubectl('create', 'namespace', 'typo');
    await api.kubectl('label', 'namespace', 'typo', 'mesh.tulle.dev/mode=ambiant');
    const event = await eventuallyEvent(admin, 'typo', 'InvalidMode');
    assert.equal(event.type, 'Warning');
    assert.match(event.note ?? '', /"ambiant"; valid values are "ambient" and "none"\. Did you mean "ambient"\?/);
  });

  it('given an object of ours is changed or deleted by hand, then it is put right', async () => {
    const service = system('/api/v1', 'services', 'tulle-control');
    await admin.patch(service, { spec: { ports: [{ name: 'grpc', port: 9, targetPort: 'grpc', protocol: 'TCP' }] } });
    await eventually<KubeObject & { spec: { ports: { port: number }[] } }>(
      admin,
      service,
      (object) => object?.spec.ports.some(({ port }) => port === 15012) ?? false,
    );
    const role = '/apis/rbac.authorization.k8s.io/v1/clusterroles/tulle-agent';
    const { metadata } = await admin.get<KubeObject>(role);
    await admin.delete(role);
    await eventually(admin, role, (object) => object !== undefined && object.metadata.uid !== metadata.uid);
  });

  it('given an object that only an older version rendered, then it is pruned, and what looks alike is left alone', async () => {
    const path = (name: string) => system('/api/v1', 'serviceaccounts', name);
    const labels = { 'app.kubernetes.io/managed-by': 'tulle' };
    const account = (name: string, ofMesh: Record<string, string>) => ({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name, namespace: 'tulle-system', labels: { ...labels, ...ofMesh } },
    });
    // As the version that renders it no more has to: the operator may delete by name only.
    const grant = ['--role=retired', '--serviceaccount=tulle-system:tulle-operator'];
    const right = ['--verb=delete', '--resource=serviceaccounts', '--resource-name=tulle-retired'];
    await api.kubectl('-n', 'tulle-system', 'create', 'role', 'retired', ...right);
    await api.kubectl('-n', 'tulle-system', 'create', 'rolebinding', 'retired', ...grant);
    const alike = [account('of-another-mesh', { 'mesh.tulle.dev/mesh': 'second' }), account('of-no-mesh', {})];
    const retired = account('tulle-retired', { 'mesh.tulle.dev/mesh': 'default' });
    // With our label, and nobody knows it: the operator may not delete it.
    alike.push(account('of-somebody', { 'mesh.tulle.dev/mesh': 'default' }));
    for (const object of [...alike, retired]) await admin.apply(object, { fieldManager: 'test' });
    await eventually(admin, path('tulle-retired'), absent);
    await operator.settled();
    assert.ok(!says('Ready', 'False', 'ApplyFailed')(await admin.get<Mesh>(mesh)), 'nor does it stand in the way');
    for (const { metadata } of alike) {
      assert.ok(await admin.find(path(metadata.name)), metadata.name);
      await admin.delete(path(metadata.name));
    }
    await api.kubectl('-n', 'tulle-system', 'delete', 'role/retired', 'rolebinding/retired');
  });

  it('given nothing to do, then a standby that takes over passes over everything and writes nothing', async () => {
    // Counts are written with a pause in between.
    await eventually<Mesh>(admin, mesh, (object) => object?.status?.enrolment?.namespaces === 1);
    await operator.settled();
    const before = await versionsOf(admin);
    const standby = await startOperator(api, 'operator-2');
    assert.deepEqual([operator.isLeading, standby.isLeading], [true, false]);
    await operator.stop();
    operator = standby;
    await operator.settled();
    assert.deepEqual(await versionsOf(admin), before);
  });

  it('given another Mesh, then it is accepted by the API and says NotDefault', async () => {
    await api.apply('{apiVersion: mesh.tulle.dev/v1alpha1, kind: Mesh, metadata: {name: second}}');
    const path = mesh.replace('default', 'second');
    await eventually<Mesh>(admin, path, says('Accepted', 'False', 'NotDefault'));
    await admin.delete(path);
    await eventually(admin, path, absent);
  });

  it('R20 given the Mesh names who reads metrics without TLS, then the port opens to them, and to nobody when it closes', async () => {
    for (const plaintextMetricsFrom of [['monitoring'], ['audit', 'monitoring'], []]) {
      await admin.patch(mesh, { spec: { telemetry: { plaintextMetricsFrom } } });
      for (const [kind, name] of workloads) {
        const lets = (object: NetworkPolicy | undefined) => isDeepStrictEqual(readersOf(object), plaintextMetricsFrom);
        await eventually(admin, system('/apis/networking.k8s.io/v1', 'networkpolicies', name), lets);
        const opens = (object: unknown) => JSON.stringify(object).includes('15014') === plaintextMetricsFrom.length > 0;
        await eventually(admin, system('/apis/apps/v1', kind, name), opens);
      }
    }
    const path = system('/apis/networking.k8s.io/v1', 'networkpolicies', 'tulle-proxy');
    await admin.patch(path, [{ op: 'replace', path: '/spec/ingress', value: [{}] }]);
    const isClosed = (object: NetworkPolicy | undefined) => object?.spec.ingress[0]?.ports?.length === 2;
    await eventually<NetworkPolicy>(admin, path, isClosed);
  });

  it('given a Mesh of an engine we do not drive, then it says so and what runs, runs on', async () => {
    await api.kubectl('patch', 'mesh', 'default', '--type=merge', '-p', '{"spec":{"node":{"engine":"Ztunnel"}}}');
    await eventually<Mesh>(admin, mesh, says('Accepted', 'False', 'EngineNotSupported'));
    assert.ok(await admin.find(system('/apis/apps/v1', 'daemonsets', 'tulle-proxy')));
    await api.kubectl('patch', 'mesh', 'default', '--type=merge', '-p', '{"spec":{"node":{"engine":"Tulle"}}}');
    await eventually<Mesh>(admin, mesh, says('Accepted', 'True', 'Accepted'));
  });

  it('given a spec the API server refuses to run, then the Mesh says which object and why', async () => {
    const broken = '{"spec":{"control":{"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}}}';
    await api.kubectl('patch', 'mesh', 'default', '--type=merge', '-p', broken);
    const failed = await eventually<Mesh>(admin, mesh, says('Ready', 'False', 'ApplyFailed'));
    assert.match(findCondition(failed?.status?.conditions, 'Ready')?.message ?? '', /tulle-control.*requests/);
    await api.kubectl('patch', 'mesh', 'default', '--type=merge', '-p', '{"spec":{"control":{"resources":null}}}');
    await eventually<Mesh>(admin, mesh, (object) => !says('Ready', 'False', 'ApplyFailed')(object));
  });
});

const workloads = [
  ['deployments', 'tulle-control'],
  ['daemonsets', 'tulle-proxy'],
] as const;

interface NetworkPolicy extends KubeObject {
  spec: {
    ingress: { from?: { namespaceSelector: { matchExpressions: { values: string[] }[] } }[]; ports?: object[] }[];
  };
}

/** The namespaces that a policy names. */
function readersOf(policy: NetworkPolicy | undefined): string[] | undefined {
  return policy?.spec.ingress.flatMap(({ from = [] }) =>
    from.flatMap(({ namespaceSelector }) => namespaceSelector.matchExpressions.flatMap(({ values }) => values)),
  );
}

/** What the controllers of Kubernetes would report once all pods run. */
async function rolledOut(admin: KubeClient): Promise<void> {
  for (const name of ['tulle-agent', 'tulle-proxy']) {
    const path = system('/apis/apps/v1', 'daemonsets', name);
    const { metadata } = await admin.get<KubeObject>(path);
    const status = {
      observedGeneration: metadata.generation,
      currentNumberScheduled: 2,
      numberMisscheduled: 0,
      desiredNumberScheduled: 2,
      updatedNumberScheduled: 2,
      numberReady: 2,
      numberAvailable: 2,
    };
    await admin.patch(`${path}/status`, { status });
  }
  const path = system('/apis/apps/v1', 'deployments', 'tulle-control');
  const { metadata } = await admin.get<KubeObject>(path);
  const counts = { replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2 };
  await admin.patch(`${path}/status`, { status: { observedGeneration: metadata.generation, ...counts } });
}

async function forbidden(request: Promise<void>): Promise<boolean> {
  try {
    await request;
    return false;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return true;
    throw error;
  }
}
