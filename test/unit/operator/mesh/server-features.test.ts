import assert from 'node:assert/strict';
import { reconcileServerFeatures, serverFeatures } from '../../../../src/operator/mesh/server-features.ts';

/** An API server by the resources of its versions of admissionregistration.k8s.io; those not named are not served. */
const served = (versions: Record<string, string[]>) => ({
  find: async <T>(path: string): Promise<T | undefined> => {
    const names = versions[path.replace('/apis/admissionregistration.k8s.io/', '')];
    return names && JSON.parse(JSON.stringify({ resources: names.map((name) => ({ name })) }));
  },
});

describe('what an API server offers', () => {
  const validating = 'validatingadmissionpolicies';
  const mutating = 'mutatingadmissionpolicies';

  it('R36 is a mutating policy in the newest version it serves it in, or none', async () => {
    const both = served({ v1: [validating, mutating], v1beta1: [mutating] });
    assert.deepEqual(await serverFeatures(both), { mutatingAdmission: 'v1' });
    const beta = served({ v1: [validating], v1beta1: [mutating] });
    assert.deepEqual(await serverFeatures(beta), { mutatingAdmission: 'v1beta1' });
    assert.deepEqual(await serverFeatures(served({ v1: [validating] })), { mutatingAdmission: undefined });
  });

  it('R36 is asked again every ten minutes, so that an operator starts anew under an API server that was upgraded', async () => {
    const versions: Record<string, string[]> = { v1: [validating], v1beta1: [mutating] };
    const found: unknown[] = [];
    const look = reconcileServerFeatures(served(versions), { mutatingAdmission: 'v1beta1' }, (other) =>
      found.push(other),
    );
    const { signal } = new AbortController();
    assert.deepEqual(await look('server', signal), { kind: 'requeue', afterMs: 600_000 });
    assert.deepEqual(found, []);
    versions.v1 = [validating, mutating];
    assert.deepEqual(await look('server', signal), { kind: 'done' });
    assert.deepEqual(found, [{ mutatingAdmission: 'v1' }]);
  });
});
