import assert from 'node:assert/strict';
import { meshesPath, meshNodesPath } from '../../../src/api/names.ts';
import { Reflector } from '../../../src/kube/cache/reflector.ts';
import type { Query, WatchEvent } from '../../../src/kube/client/client.ts';
import { source } from '../../../src/kube/controller/reconciler.ts';
import type { KubeList, KubeObject } from '../../../src/kube/objects.ts';
import { concernsWriters } from '../../../src/kube/status.ts';
import { type Caches, createCaches } from '../../../src/operator/caches.ts';
import { enrolmentSources } from '../../../src/operator/enrolment/enrolment.ts';
import { meshSources } from '../../../src/operator/mesh/mesh.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { turn } from '../../fixtures/fake-clock.ts';

const nodesPath = '/api/v1/nodes';

/** Collections that begin with what a test puts there; watches tell what it says afterwards. */
class Collections {
  readonly #listed = new Map<string, object[]>();
  readonly #told = new Map<string, (event: WatchEvent) => void>();
  #version = 1;

  put(path: string, object: object): void {
    this.#listed.set(path, [...(this.#listed.get(path) ?? []), this.#versioned(object)]);
  }

  async change(path: string, object: object): Promise<void> {
    const event = { type: 'MODIFIED', object: this.#versioned(object) } as const;
    this.#told.get(path)?.(JSON.parse(JSON.stringify(event)));
    await turn();
  }

  list = async <T extends KubeObject>(path: string, _query?: Query): Promise<KubeList<T>> => {
    const list = { metadata: { resourceVersion: '1' }, items: this.#listed.get(path) ?? [] };
    return JSON.parse(JSON.stringify(list));
  };

  async *watch<T extends KubeObject>(path: string, _query: Query, signal: AbortSignal): AsyncGenerator<WatchEvent<T>> {
    const events: string[] = [];
    for (;;) {
      await new Promise<void>((resolve) => {
        this.#told.set(path, (event) => {
          events.push(JSON.stringify(event));
          resolve();
        });
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      if (signal.aborted) return;
      for (const event of events.splice(0)) yield JSON.parse(event);
    }
  }

  #versioned(object: object): object {
    this.#version += 1;
    const metadata = 'metadata' in object ? object.metadata : {};
    return { ...object, metadata: Object.assign({}, metadata, { resourceVersion: String(this.#version) }) };
  }
}

describe('the caches of the operator', () => {
  const condition = (type: string, status = 'True', message = '') => ({ type, status, reason: 'R', message });
  const mesh = (status: object, more: object = {}) => ({
    kind: 'Mesh',
    metadata: { name: 'default', uid: 'm', generation: 1, finalizers: ['mesh.tulle.dev/mesh'], ...more },
    status,
  });
  const pod = { uid: 'p', namespace: 'shop', name: 'web', captured: true, state: 'Failed', reason: 'PortInUse' };
  const verbose = { ...pod, serviceAccount: 'web', ips: ['10.0.0.1'], message: 'm'.repeat(500), since: '2026' };
  const meshNode = (status: object) => ({
    kind: 'MeshNode',
    metadata: {
      name: 'node-1',
      uid: 'n',
      finalizers: ['mesh.tulle.dev/captured-pods'],
      ownerReferences: [{ kind: 'Node', name: 'node-1', uid: 'o' }],
      managedFields: [{ manager: 'tulle-agent', fieldsV1: { 'f:status': {} } }],
    },
    status: { agent: { version: '1' }, pods: [verbose], conditions: [condition('Ready')], ...status },
  });
  const node = (more: object = {}) => ({ metadata: { name: 'node-1', uid: 'o', ...more } });
  const settled = { conditions: [condition('Accepted'), condition('Ready')] };

  let server: Collections;
  let caches: Caches;
  let stop: AbortController;

  beforeEach(async () => {
    server = new Collections();
    stop = new AbortController();
    server.put(meshesPath, mesh(settled));
    server.put(meshNodesPath, meshNode({}));
    server.put(nodesPath, node());
    const starts: (() => Promise<void>)[] = [];
    const reflect: Parameters<typeof createCaches>[0]['reflect'] = (options) => {
      const reflector = new Reflector({ ...options, client: server, log: silentLog });
      starts.push(() => {
        reflector.start(stop.signal);
        return reflector.synced();
      });
      return reflector;
    };
    caches = createCaches({ reflect }, { mutatingAdmission: 'v1' });
    await Promise.all(starts.map((start) => start()));
    await turn();
  });

  afterEach(() => stop.abort());

  /** As the operator watches them. */
  const rendering = () => [
    source(caches.meshes, ({ metadata }) => [metadata.name], concernsWriters),
    ...meshSources(caches),
  ];

  /** How often the controller of these sources is woken. */
  function wakes(sources: ReturnType<typeof meshSources>): () => number {
    let count = 0;
    for (const source of sources) {
      source.connect(() => {
        count += 1;
      });
    }
    return () => count;
  }

  it('R39 have of a MeshNode what controllers read, and not what is for people', () => {
    const kept = caches.meshNodes.store.get('node-1');
    const [keptPod] = kept?.status?.pods ?? [];
    assert.deepEqual({ ...keptPod, ...pod }, keptPod, 'who it is, and how it stands');
    assert.deepEqual([keptPod?.message, keptPod?.ips, keptPod?.serviceAccount, keptPod?.since], ['', [], '', '']);
    assert.deepEqual(kept?.status?.conditions, [condition('Ready')]);
    assert.deepEqual(kept?.metadata.finalizers, ['mesh.tulle.dev/captured-pods']);
    assert.equal(kept?.metadata.ownerReferences?.[0]?.uid, 'o');
    assert.ok(!JSON.stringify(kept).includes('fieldsV1'));
    assert.equal(caches.enrolment.total().failed, 1);
  });

  it('wake nobody who renders with a status that is written: our own, that of control, or what nodes say of pods', async () => {
    const rendered = wakes(rendering());
    const counted = wakes(enrolmentSources(caches));
    const conditions = [...settled.conditions, condition('Enrolled', 'False')];
    await server.change(meshesPath, mesh({ conditions }));
    await server.change(meshesPath, mesh({ conditions, enrolment: { namespaces: 1 }, authority: { authorities: [] } }));
    assert.deepEqual([rendered(), counted()], [0, 0]);
    await server.change(meshNodesPath, meshNode({ pods: [{ ...verbose, state: 'Secured' }] }));
    await server.change(nodesPath, node({ annotations: { heartbeat: 'now' } }));
    assert.deepEqual([rendered(), counted()], [0, 1]);
  });

  it('wake who renders with another spec, a finalizer or a condition that somebody took away, and what a node says of itself', async () => {
    const rendered = wakes(rendering());
    await server.change(meshesPath, mesh(settled, { generation: 2 }));
    assert.equal(rendered(), 1);
    await server.change(meshesPath, mesh(settled, { generation: 2, finalizers: [] }));
    assert.equal(rendered(), 2);
    await server.change(meshesPath, mesh({ conditions: [condition('Accepted')] }, { generation: 2, finalizers: [] }));
    assert.equal(rendered(), 3);
    await server.change(meshNodesPath, meshNode({ conditions: [condition('Ready', 'False')] }));
    assert.equal(rendered(), 4);
  });
});
