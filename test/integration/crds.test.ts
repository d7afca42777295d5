import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { type Mesh, parseMeshSpec } from '../../src/api/mesh.ts';
import type { MeshNode } from '../../src/api/mesh-node.ts';
import { apiVersion, meshesPath, meshNodesPath } from '../../src/api/names.ts';
import { ApiError, KubeClient } from '../../src/kube/client/client.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';

const crds = resolve(import.meta.dirname, '../../crds');

describe('the kinds on a real API server', function () {
  this.timeout(120_000);
  let api: ApiServer;
  let client: KubeClient;

  before(async () => {
    api = await startApiServer();
    client = KubeClient.fromFile(api.kubeconfig);
    await api.kubectl('apply', '-f', crds);
    await api.kubectl('wait', '--for=condition=Established', '--timeout=30s', '-f', crds);
    for (const crd of ['meshes', 'meshnodes']) {
      const conditions = await api.kubectl(
        'get',
        'crd',
        `${crd}.mesh.tulle.dev`,
        '-o',
        'jsonpath={.status.conditions[*].type}',
      );
      assert.doesNotMatch(conditions, /NonStructuralSchema/);
    }
  });

  after(async () => {
    await client?.close();
    await api?.stop();
  });

  afterEach(async () => {
    await api.kubectl('delete', 'mesh,meshnodes', '--all');
  });

  it('a Mesh without a spec gets the same defaults from the API server as from us', async () => {
    await api.apply(JSON.stringify({ apiVersion, kind: 'Mesh', metadata: { name: 'default' } }));
    const mesh = await client.get<Mesh>(`${meshesPath}/default`);
    assert.deepEqual(mesh.spec, parseMeshSpec(undefined).spec);
    assert.deepEqual(parseMeshSpec(mesh.spec).spec, mesh.spec);
  });

  it('keeps what is set in a part of the spec, and fills in the rest', async () => {
    const spec = {
      mtls: { mode: 'Strict' },
      authority: { leafTtlSeconds: 600 },
      control: { resources: { limits: { memory: '1Gi', cpu: 1 } } },
    };
    await api.apply(JSON.stringify({ apiVersion, kind: 'Mesh', metadata: { name: 'default' }, spec }));
    assert.deepEqual((await client.get<Mesh>(`${meshesPath}/default`)).spec, parseMeshSpec(spec).spec);
  });

  for (const [what, spec, message] of [
    [
      'an impossible trust domain',
      { trustDomain: 'Cluster Local' },
      /spec\.trustDomain must be lower-case.*for example cluster\.local/,
    ],
    ['an empty trust domain', { trustDomain: '' }, /spec\.trustDomain/],
    ['a trust domain of 256 bytes', { trustDomain: 'a'.repeat(256) }, /spec\.trustDomain: Too long/],
    ['a negative lifetime', { authority: { leafTtlSeconds: -1 } }, /spec\.authority\.leafTtlSeconds/],
    [
      'a root that outlives its leaves too little',
      { authority: { leafTtlSeconds: 86_400, rootTtlSeconds: 172_800 } },
      /raise rootTtlSeconds or lower leafTtlSeconds/,
    ],
    [
      'a root lifetime that breaks the rule by a default',
      { authority: { rootTtlSeconds: 86_400 } },
      /more than twice spec\.authority\.leafTtlSeconds/,
    ],
    [
      'an unknown engine',
      { node: { engine: 'Envoy' } },
      /spec\.node\.engine: Unsupported value: "Envoy".*"Tulle", "Ztunnel"/,
    ],
    ['an unknown mode', { mtls: { mode: 'Off' } }, /spec\.mtls\.mode: Unsupported value/],
    ['a relative CNI folder', { node: { cniConfDir: 'etc/cni' } }, /spec\.node\.cniConfDir/],
    ['a CNI folder that climbs', { node: { cniBinDir: '/opt/../root' } }, /spec\.node\.cniBinDir/],
    [
      'a nonsensical quantity',
      { control: { resources: { limits: { cpu: 'much' } } } },
      /spec\.control\.resources\.limits\.cpu/,
    ],
    [
      'every namespace as reader of plain metrics',
      { telemetry: { plaintextMetricsFrom: ['*'] } },
      /spec\.telemetry\.plaintextMetricsFrom must hold names of namespaces, for example monitoring/,
    ],
    [
      'too many namespaces as readers of plain metrics',
      { telemetry: { plaintextMetricsFrom: Array(17).fill('monitoring') } },
      /spec\.telemetry\.plaintextMetricsFrom: Too many/,
    ],
  ] as const) {
    it(`refuses a Mesh with ${what}, naming the field, as we do`, async () => {
      assert.ok(parseMeshSpec(spec).problems);
      await assert.rejects(
        client.create(meshesPath, { apiVersion, kind: 'Mesh', metadata: { name: 'default' }, spec }),
        (error: unknown) => error instanceof ApiError && error.status === 422 && message.test(error.message),
      );
    });
  }

  it('refuses to change the trust domain, also by leaving it out, and says what to do instead', async () => {
    await client.create(meshesPath, {
      apiVersion,
      kind: 'Mesh',
      metadata: { name: 'default' },
      spec: { trustDomain: 'prod.example' },
    });
    for (const trustDomain of ['other.example', null]) {
      await assert.rejects(
        client.patch(`${meshesPath}/default`, { spec: { trustDomain } }),
        /cannot be changed.*Delete the Mesh and create it again/,
      );
    }
    await client.patch(`${meshesPath}/default`, { spec: { mtls: { mode: 'Strict' } } });
  });

  it('takes a Mesh of another name: that it has no effect is its condition’s to say', async () => {
    await client.create(meshesPath, { apiVersion, kind: 'Mesh', metadata: { name: 'second' } });
  });

  it('shows what an administrator asks for in kubectl get mesh', async () => {
    await client.create(meshesPath, { apiVersion, kind: 'Mesh', metadata: { name: 'default' } });
    const at = '2026-01-15T12:00:00Z';
    const condition = (type: string, status: string) => ({
      type,
      status,
      reason: 'Because',
      message: 'm',
      lastTransitionTime: at,
    });
    await client.applyStatus(
      {
        apiVersion,
        kind: 'Mesh',
        metadata: { name: 'default' },
        status: {
          conditions: [condition('Accepted', 'True'), condition('Ready', 'False'), condition('AuthorityReady', 'True')],
          enrolment: { namespaces: 1, pods: { secured: 41, pending: 2, failed: 3, optedOut: 1 } },
        },
      },
      { fieldManager: 'tulle-operator' },
    );
    const [header, row] = (await api.kubectl('get', 'mesh')).trim().split('\n');
    assert.deepEqual(header?.split(/\s+/), [
      'NAME',
      'ACCEPTED',
      'READY',
      'AUTHORITY',
      'MTLS',
      'SECURED',
      'PENDING',
      'FAILED',
      'OPTEDOUT',
      'AGE',
    ]);
    assert.deepEqual(row?.split(/\s+/).slice(0, -1), [
      'default',
      'True',
      'False',
      'True',
      'Permissive',
      '41',
      '2',
      '3',
      '1',
    ]);
  });

  it('control and operator write the status of a Mesh side by side', async () => {
    await client.create(meshesPath, { apiVersion, kind: 'Mesh', metadata: { name: 'default' } });
    const at = '2026-01-15T12:00:00Z';
    const of = (status: object) => ({ apiVersion, kind: 'Mesh', metadata: { name: 'default' }, status });
    const condition = { type: 'Ready', status: 'True', reason: 'AllReady', message: '', lastTransitionTime: at };
    await client.applyStatus(of({ conditions: [condition] }), { fieldManager: 'tulle-operator' });
    const authority = {
      trustDomain: 'cluster.local',
      bundleSha256: 'ab',
      authorities: [{ id: 'x', state: 'active', notAfter: at }],
    };
    await client.applyStatus(of({ authority }), { fieldManager: 'tulle-control' });
    const { status } = await client.get<Mesh>(`${meshesPath}/default`);
    assert.deepEqual(status, { conditions: [condition], authority });
  });

  it('a MeshNode shows its node in kubectl get, and takes what an agent applies', async () => {
    await client.create(meshNodesPath, { apiVersion, kind: 'MeshNode', metadata: { name: 'node-1' } });
    const pod = {
      uid: 'u',
      namespace: 'shop',
      name: 'cart-0',
      serviceAccount: 'cart',
      captured: true,
      state: 'Secured',
      since: '2026-01-15T12:00:00Z',
    };
    await client.applyStatus(
      {
        apiVersion,
        kind: 'MeshNode',
        metadata: { name: 'node-1' },
        status: {
          agent: { version: '0.1.0' },
          proxy: { version: '0.1.0', ready: true },
          cni: { installed: true },
          counts: { secured: 1, pending: 0, failed: 0 },
          pods: [pod],
        },
      },
      { fieldManager: 'tulle-agent' },
    );
    const { status } = await client.get<MeshNode>(`${meshNodesPath}/node-1`);
    assert.deepEqual(status?.pods, [{ ...pod, ips: [], reason: '', message: '', existingConnections: 0 }]);
    assert.deepEqual(status.proxy, { version: '0.1.0', ready: true, trustBundleSha256: '' });
    const [header, row] = (await api.kubectl('get', 'meshnodes')).trim().split('\n');
    assert.deepEqual(header?.split(/\s+/), ['NAME', 'PROXY', 'SECURED', 'PENDING', 'FAILED', 'OPTEDOUT', 'CNI', 'AGE']);
    assert.deepEqual(row?.split(/\s+/).slice(0, -1), ['node-1', 'true', '1', '0', '0', '0', 'true']);
  });

  it('explains every field to kubectl explain', async () => {
    const text = await api.kubectl('explain', 'mesh.spec.authority.leafTtlSeconds');
    assert.match(text, /How long a workload certificate is valid, in seconds/);
  });
});
