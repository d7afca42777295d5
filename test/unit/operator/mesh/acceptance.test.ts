import assert from 'node:assert/strict';
import type { Mesh, MeshSpecInput } from '../../../../src/api/mesh.ts';
import { accept } from '../../../../src/operator/mesh/acceptance.ts';

const release = { version: '0.1.0', image: 'a', nodeImage: 'b' };
const mesh = (spec: MeshSpecInput, name = 'default'): Mesh => ({
  apiVersion: 'mesh.tulle.dev/v1alpha1',
  kind: 'Mesh',
  metadata: { name, generation: 7 },
  spec,
});
const verdict = (candidate: Mesh) => {
  const { condition, spec } = accept(candidate, release);
  return { status: condition.status, reason: condition.reason, message: condition.message, usable: spec !== undefined };
};

describe('whether a Mesh is accepted', () => {
  it('an empty spec is, with everything at its default', () => {
    const { condition, spec } = accept(mesh({}), release);
    assert.deepEqual([condition.status, condition.observedGeneration], ['True', 7]);
    assert.equal(spec?.trustDomain, 'cluster.local');
  });

  it('one of another name is not, however good its spec', () => {
    assert.deepEqual([verdict(mesh({}, 'second')).reason, verdict(mesh({}, 'second')).usable], ['NotDefault', false]);
  });

  for (const [what, spec, field] of [
    ['an impossible trust domain', { trustDomain: 'Not A Domain' }, 'spec.trustDomain'],
    ['a negative lifetime', { authority: { leafTtlSeconds: -1 } }, 'spec.authority.leafTtlSeconds'],
    [
      'a root that outlives no leaf',
      { authority: { leafTtlSeconds: 86_400, rootTtlSeconds: 86_400 } },
      'spec.authority.rootTtlSeconds',
    ],
    ['no replica', { control: { replicas: 0 } }, 'spec.control.replicas'],
  ] as const) {
    it(`${what} is refused by naming the field`, () => {
      const { status, reason, message, usable } = verdict(mesh(spec));
      assert.deepEqual([status, reason, usable], ['False', 'MeshSpecInvalid', false]);
      assert.ok(message.startsWith(`${field}: `), message);
    });
  }

  it('another version is refused with both versions', () => {
    const { reason, message } = verdict(mesh({ version: '0.2.0' }));
    assert.equal(reason, 'VersionNotSupported');
    assert.match(message, /0\.2\.0.*0\.1\.0/);
    assert.equal(verdict(mesh({ version: '0.1.0' })).status, 'True');
  });

  it('an engine this version does not drive is refused', () => {
    assert.equal(verdict(mesh({ node: { engine: 'Ztunnel' } })).reason, 'EngineNotSupported');
  });
});
