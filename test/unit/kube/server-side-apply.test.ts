import assert from 'node:assert/strict';
import { ApiError, type ApplyOptions } from '../../../src/kube/client/client.ts';
import { applyIfChanged, firstDifference, stableJson, withHash } from '../../../src/kube/client/server-side-apply.ts';
import type { KubeObject, Manifest } from '../../../src/kube/objects.ts';

const annotation = 'example.org/hash';
const service: Manifest = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop', labels: { app: 'web' } },
  spec: { ports: [{ name: 'http', port: 80 }], publishNotReadyAddresses: false, externalIPs: [] },
};

/** The object as an API server gives it back: more fields, empty ones dropped. */
function live(manifest: Manifest): KubeObject & { spec: { ports: object[]; [field: string]: unknown } } {
  const hashed = withHash(manifest, annotation);
  return {
    ...hashed,
    metadata: {
      ...hashed.metadata,
      uid: '1',
      resourceVersion: '5',
      annotations: { ...hashed.metadata.annotations, by: 'others' },
    },
    spec: { ports: [{ name: 'http', port: 80, protocol: 'TCP' }], clusterIP: '10.0.0.1' },
  };
}

class RecordingClient {
  readonly applied: Manifest[] = [];
  readonly patched: object[] = [];
  refuse: ApiError[] = [];
  apply = async <T extends KubeObject>(object: Manifest, _options: ApplyOptions): Promise<T> => {
    const refusal = this.refuse.shift();
    if (refusal !== undefined) throw refusal;
    this.applied.push(object);
    return JSON.parse(JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: '6' } }));
  };
  patch = async <T>(_path: string, patch: object): Promise<T> => {
    this.patched.push(patch);
    return JSON.parse('{}');
  };
  pathOf = async () => '/api/v1/namespaces/shop/services/web';
}

describe('server-side apply', () => {
  let client: RecordingClient;
  const apply = (desired: Manifest, there: KubeObject | undefined) =>
    applyIfChanged(desired, there, { client, fieldManager: 'test', hashAnnotation: annotation });

  beforeEach(() => {
    client = new RecordingClient();
  });

  it('writes nothing when the object is as asked, whatever else is in it', async () => {
    assert.equal(await apply(service, live(service)), false);
    assert.equal(client.applied.length, 0);
  });

  it('applies what is not there, and marks it with its hash', async () => {
    assert.equal(await apply(service, undefined), true);
    assert.match(client.applied[0]?.metadata.annotations?.[annotation] ?? '', /^[0-9a-f]{32}$/);
  });

  it('applies when somebody changed a field of ours', async () => {
    const changed = live(service);
    changed.spec.ports = [{ name: 'http', port: 81, protocol: 'TCP' }];
    assert.equal(await apply(service, changed), true);
  });

  it('applies when we no longer ask for a field: only the hash tells', async () => {
    const { labels: _labels, ...metadata } = service.metadata;
    assert.equal(await apply({ ...service, metadata }, live(service)), true);
  });

  it('says it wrote nothing when the API server changed nothing', async () => {
    const changed = live(service);
    changed.metadata = { ...changed.metadata, resourceVersion: '6', labels: {} };
    assert.equal(await apply(service, changed), false);
    assert.equal(client.applied.length, 1);
  });

  it('replaces the lists of others where they make the object invalid, and applies again', async () => {
    const invalid = new ApiError({ status: 422, reason: 'Invalid', message: 'duplicate port name', path: 'web' });
    client.refuse = [invalid];
    const changed = live(service);
    changed.spec.ports = [{ name: 'http', port: 9 }];
    await apply(service, changed);
    assert.deepEqual(client.patched, [{ spec: service.spec }]);
    assert.equal(client.applied.length, 1);
    client.refuse = [invalid];
    await assert.rejects(apply(service, undefined), /duplicate port name/, 'a new object has no lists of others');
  });

  it('names the field that differs', () => {
    assert.equal(
      firstDifference({ spec: { ports: [{ port: 1 }] } }, { spec: { ports: [{ port: 2 }] } }),
      '.spec.ports[0].port',
    );
    assert.equal(firstDifference({ a: [1, 2] }, { a: [1] }), '.a');
    assert.equal(firstDifference({ a: { b: 1 } }, {}), '.a');
    assert.equal(firstDifference({ a: '', b: 0, c: [], d: undefined, e: false }, {}), undefined);
    assert.equal(firstDifference({ a: 0 }, { a: 5 }), '.a');
  });

  it('hashes equal manifests alike, whatever the order of their fields', () => {
    assert.equal(stableJson({ b: 1, a: { d: 2, c: 3 } }), stableJson({ a: { c: 3, d: 2 }, b: 1 }));
  });
});
