import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import type { Mesh } from '../../src/api/mesh.ts';
import { meshName } from '../../src/api/names.ts';
import { findCondition } from '../../src/kube/conditions.ts';
import type { ConfigMap, Node } from '../../src/kube/objects.ts';
import type { MeshOperator } from '../../src/operator/operator.ts';
import { agentRules, controlRules, renderAccess } from '../../src/render/access.ts';
import { retiredObjects } from '../../src/render/known-objects.ts';
import { CertificateClient } from '../fixtures/ca/certificate-client.ts';
import { covers, installedRights, type Right, rightsOf } from '../fixtures/rights.ts';
import { scrape } from '../fixtures/scrape.ts';
import { agentClient, markReleased, meshNode, reportStatus } from './agents.ts';
import { ControlCluster } from './control-cluster.ts';
import { eventually, installConfig, type RecordedEvent, startOperator } from './operator-cluster.ts';

const mesh = '/apis/mesh.tulle.dev/v1alpha1/meshes/default';
const secretPath = '/api/v1/namespaces/tulle-system/secrets/tulle-ca';
const secretsPath = '/api/v1/namespaces/tulle-system/secrets';
const absent = (object: unknown) => object === undefined;
const present = (object: unknown) => object !== undefined;

/** One life of a mesh, in which each part does all it ever does. What it asked for is in the audit log of the API server. */
describe('what a part may is what it does', function () {
  this.timeout(180_000);
  let cluster: ControlCluster;
  let operator: MeshOperator | undefined;

  before(async () => {
    cluster = await ControlCluster.start();
    const { admin, api } = cluster;
    await installConfig(api);
    // The operator makes them.
    for (const object of renderAccess(meshName)) await admin.delete(await admin.pathOf(object));
    operator = await startOperator(api);
    await cluster.mesh({ enrolment: { podOptOut: 'Denied' } });
    for (const object of renderAccess(meshName)) await eventually(admin, await admin.pathOf(object), present);
    await liveOfControl();
    await enrolment();
    await joiningNode();
    await removal();
  });

  after(async () => {
    await operator?.stop();
    await cluster?.stop();
  });

  /** It signs, looks for pods that its watch does not know, loses its Secret twice, and goes on. */
  async function liveOfControl(): Promise<void> {
    const { admin } = cluster;
    const replica = await cluster.replica();
    await replica.start();
    await eventually<Mesh>(admin, mesh, says('AuthorityReady', 'Serving'));
    const certificates = new CertificateClient(replica.grpcPort ?? 0, await cluster.roots());
    const token = await cluster.proxyToken();
    const identity = 'spiffe://cluster.local/ns/shop/sa/absent';
    assert.equal((await certificates.ask({ token, identity })).refused?.status, 'PERMISSION_DENIED');
    await cluster.removePod('tulle-system', 'proxy-node-1');
    const refused = async () => (await certificates.ask({ token, identity })).refused?.status === 'UNAUTHENTICATED';
    await until('the pod of the caller is gone', refused, { limitMs: 20_000 });
    certificates.close();
    const scraper = await cluster.token('shop', 'default', {});
    assert.equal((await scrape({ port: replica.metricsPort, token: scraper })).status, 403);
    const { data } = await admin.get<ConfigMap>(secretPath);
    for (const series of [false, true]) {
      await admin.delete(secretPath);
      await eventually<Mesh>(admin, mesh, says('AuthorityReady', 'AuthorityLost'));
      await said('default', 'AuthorityLost', series);
      await admin.create(secretsPath, { metadata: { name: 'tulle-ca' }, data });
      await eventually<Mesh>(admin, mesh, says('AuthorityReady', 'Serving'));
    }
    await replica.stop();
  }

  async function enrolment(): Promise<void> {
    const { admin, api } = cluster;
    const copy = '/api/v1/namespaces/shop/configmaps/tulle-trust-bundle';
    await api.kubectl('label', 'namespace', 'shop', 'mesh.tulle.dev/mode=ambient');
    await eventually(admin, copy, present);
    const agent = await agentClient(api, 'node-2');
    for (const series of [false, true]) {
      await reportStatus(agent, 'node-2', { agent: { version: '0.1.0' }, pods: [pod('Failed')] });
      await said('shop', 'PodsNotSecured', series);
      await reportStatus(agent, 'node-2', { agent: { version: '0.1.0' }, pods: [pod('Secured')] });
      await said('shop', 'PodsSecured', series);
    }
    await agent.close();
  }

  /** It is tainted as it joins, and loses the taint at the latest with the Mesh. */
  async function joiningNode(): Promise<void> {
    const { admin, api } = cluster;
    await api.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-3', labels: linux } }));
    await eventually(admin, meshNode('node-3'), present);
    await eventually<Node>(admin, '/api/v1/nodes/node-3', (node) =>
      Boolean(node?.spec?.taints?.some(({ key }) => key === 'mesh.tulle.dev/not-ready')),
    );
  }

  async function removal(): Promise<void> {
    const { admin, api } = cluster;
    await api.kubectl('delete', 'mesh', 'default', '--wait=false');
    await eventually<Mesh>(admin, mesh, says('Removing', 'ReleasingNodes'));
    for (const node of ['node-1', 'node-2', 'node-3']) await markReleased(api, node);
    await eventually<Mesh>(admin, mesh, says('Removing', 'StoppingWorkloads'));
    await api.kubectl('-n', 'tulle-system', 'delete', 'pods', '--all', '--force', '--grace-period=0');
    await eventually(admin, mesh, absent);
  }

  const says = (type: string, reason: string) => (object: Mesh | undefined) =>
    findCondition(object?.status?.conditions, type)?.reason === reason;

  /** Resolves when there is an Event with this reason, or it has become a series. */
  async function said(namespace: string, reason: string, series: boolean): Promise<void> {
    const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const found = async () => {
      const events = await cluster.admin.listAll<RecordedEvent & { series?: object }>(path);
      return events.some((event) => event.reason === reason && (event.series !== undefined || !series));
    };
    await until(`${reason} was said${series ? ' again' : ''}`, found, { limitMs: 20_000, everyMs: 100 });
  }

  const asked = (by: string) => cluster.api.requests().filter((request) => request.by === by);

  /** The rights that no request made use of. */
  function unused(rights: Iterable<Right>, by: string, namespace?: string): Right[] {
    const used = asked(by).filter((request) => namespace === undefined || request.namespace === namespace);
    return [...rights].filter((right) => !used.some((request) => covers(right, request.right))).sort();
  }

  it('no part is refused anything', () => {
    for (const by of ['tulle-operator', 'tulle-control']) {
      assert.ok(asked(by).length > 0);
      const refused = asked(by).filter(({ status }) => status === 403);
      assert.deepEqual(new Set(refused.map(({ right }) => right)), new Set());
    }
  });

  it('control uses every right that it has', () => {
    assert.deepEqual(unused(rightsOf(controlRules), 'tulle-control'), []);
    assert.deepEqual(unused(installedRights('Role', 'tulle-control'), 'tulle-control', 'tulle-system'), []);
  });

  it('the operator uses every right that it has, but for those it has only to grant them', () => {
    const granted = [...rightsOf(controlRules), ...rightsOf(agentRules)];
    const isHeldFor = (right: Right) => granted.some((other) => covers(other, right)) || isToPrune(right);
    const across = unused(installedRights('ClusterRole', 'tulle-operator'), 'tulle-operator');
    const inside = unused(installedRights('Role', 'tulle-operator'), 'tulle-operator', 'tulle-system');
    assert.deepEqual(
      [...across.filter((right) => !isHeldFor(right)), ...inside.filter((right) => !isToPrune(right))],
      [],
    );
  });
});

/** What an earlier version rendered is not there to be deleted. */
const isToPrune = (right: Right) =>
  retiredObjects.some(({ name }) => right.startsWith('delete ') && right.endsWith(` ${name}`));

const linux = { 'kubernetes.io/os': 'linux' };

function pod(state: string) {
  const since = '2026-01-01T00:00:00Z';
  const identity = { uid: 'uid-web', namespace: 'shop', name: 'web', serviceAccount: 'default', ips: ['10.0.0.1'] };
  return { ...identity, captured: false, state, reason: '', message: '', existingConnections: 0, since };
}
