import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { Mesh } from '../../src/api/mesh.ts';
import type { KubeClient } from '../../src/kube/client/client.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { agentClient, meshNode, reportStatus } from './agents.ts';
import { adminClient, eventually, eventuallyEvent, installConfig, refusal, startOperator } from './operator-cluster.ts';

const mesh = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const policy = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/pod-opt-out.mesh.tulle.dev';
const label = 'mesh.tulle.dev/mode';
const pods = (namespace: string) => `/api/v1/namespaces/${namespace}/pods`;

function pod(name: string, mode?: string) {
  const labels = mode === undefined ? {} : { [label]: mode };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels },
    spec: { containers: [{ name: 'app', image: 'none' }] },
  };
}

describe('R40 a pod that leaves the mesh by its own label', () => {
  let api: ApiServer;
  let admin: KubeClient;
  let operator: MeshOperator;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    await api.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: 'n1', labels: { 'kubernetes.io/os': 'linux' } },
      }),
    );
    for (const namespace of ['shop', 'outside']) {
      await api.kubectl('create', 'namespace', namespace);
      await api.kubectl('-n', namespace, 'create', 'serviceaccount', 'default');
    }
    await api.kubectl('-n', 'kube-system', 'create', 'serviceaccount', 'default');
    await api.kubectl('label', 'namespace', 'shop', 'kube-system', `${label}=ambient`);
    operator = await startOperator(api);
    await api.kubectl('apply', '-f', 'config/samples/mesh.yaml');
  });

  after(async () => {
    await operator?.stop();
    await admin?.close();
    await api?.stop();
  });

  const say = (podOptOut: string) => admin.patch(mesh, { spec: { enrolment: { podOptOut } } });
  const dryRun = { dryRun: 'All' };
  const create = (namespace: string, mode: string) =>
    refusal(admin.create(pods(namespace), pod('probe', mode), dryRun));

  it('R40 is counted in the status of the Mesh and named, and its namespace is told', async () => {
    await eventually(admin, meshNode('n1'), (object) => object !== undefined);
    const agent = await agentClient(api, 'n1');
    const reported = (name: string, state: string, reason: string) => ({
      ...{ uid: `uid-${name}`, namespace: 'shop', name, serviceAccount: 'default', ips: [], message: '' },
      ...{ captured: state === 'Secured', state, reason, existingConnections: 0, since: '2026-01-01T00:00:00Z' },
    });
    await reportStatus(agent, 'n1', {
      agent: { version: '0.1.0' },
      counts: { secured: 1, pending: 0, failed: 0, optedOut: 1 },
      pods: [reported('web', 'Secured', ''), reported('cart', 'OptedOut', 'PodLabel')],
    });
    await agent.close();
    const counted = await eventually<Mesh>(admin, mesh, (object) => object?.status?.enrolment?.pods.optedOut === 1);
    assert.deepEqual(counted?.status?.enrolment?.pods, { secured: 1, pending: 0, failed: 0, optedOut: 1 });
    const condition = findCondition(counted?.status?.conditions, 'Enrolled');
    assert.equal(condition?.status, 'True');
    assert.match(condition?.message ?? '', /1 pod has opted out and is left in plaintext: shop\/cart\./);
    const event = await eventuallyEvent(admin, 'shop', 'PodsOptedOut');
    assert.deepEqual([event.type, /: cart\. /.test(event.note ?? '')], ['Warning', true]);
    const columns = await api.kubectl('get', 'meshnode', 'n1');
    assert.match(columns, /OPTEDOUT/);
  });

  it('R40 may, unless the Mesh says otherwise', async () => {
    await admin.create(pods('shop'), pod('out', 'none'));
    await admin.create(pods('shop'), pod('in'));
    assert.equal(await admin.find(policy), undefined);
  });

  it('R40 is refused where the Mesh says Denied, with words that say who can change that', async () => {
    await say('Denied');
    await until('the policy is in force', async () => (await create('shop', 'none')) !== '', { limitMs: 20_000 });
    const words = /pod probe .*namespace shop .*spec\.enrolment\.podOptOut of the Mesh .*administrator/;
    assert.match(await create('shop', 'none'), words);
    const labelled = { metadata: { labels: { [label]: 'none' } } };
    assert.match(await refusal(admin.patch(`${pods('shop')}/in`, labelled, dryRun)), /pod in /);
    const status = admin.patch(`${pods('shop')}/in/status`, labelled, dryRun);
    assert.match(await refusal(status), /pod in /);
  });

  it('R40 is refused as a label of a Binding, which the API server copies to the pod', async () => {
    const metadata = { name: 'in', namespace: 'shop', labels: { [label]: 'none' } };
    const binding = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata,
      target: { apiVersion: 'v1', kind: 'Node', name: 'n1' },
    };
    for (const path of [`${pods('shop')}/in/binding`, '/api/v1/namespaces/shop/bindings']) {
      assert.match(await refusal(admin.create(path, binding)), /pod in /);
    }
  });

  it('R40 keeps the label it has, whatever else of it changes', async () => {
    await admin.patch(`${pods('shop')}/out`, { metadata: { labels: { touched: 'yes' } } });
    await admin.patch(`${pods('shop')}/out`, { metadata: { labels: { [label]: null } } });
    const again = { metadata: { labels: { [label]: 'none' } } };
    assert.match(await refusal(admin.patch(`${pods('shop')}/out`, again, dryRun)), /pod out /);
  });

  it('R40 is refused nothing else: other values, other namespaces, those that are never enrolled', async () => {
    assert.equal(await create('shop', 'ambient'), '');
    assert.equal(await create('outside', 'none'), '');
    assert.equal(await create('kube-system', 'none'), '');
  });

  it('R40 may again when the Mesh says Allowed again, and the policy is gone', async () => {
    await say('Allowed');
    await eventually(admin, policy, (object) => object === undefined);
    await eventually(admin, policy.replace('policies', 'policybindings'), (object) => object === undefined);
    await until('the policy is out of force', async () => (await create('shop', 'none')) === '', { limitMs: 20_000 });
  });
});
