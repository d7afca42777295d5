import assert from 'node:assert/strict';
import type { Mesh } from '../../../../src/api/mesh.ts';
import type { MeshNodePod, PodState } from '../../../../src/api/mesh-node.ts';
import { enrolled } from '../../../../src/operator/enrolment/enrolment.ts';
import { EnrolmentIndex } from '../../../../src/operator/enrolment/pod-index.ts';

const mesh: Mesh = { apiVersion: 'mesh.tulle.dev/v1alpha1', kind: 'Mesh', metadata: { name: 'default' } };

function pod(name: string, state: PodState): MeshNodePod {
  return {
    uid: name,
    namespace: 'shop',
    name,
    serviceAccount: 'default',
    ips: [],
    captured: state === 'Secured',
    state,
    reason: state === 'Secured' ? '' : 'Reason',
    message: '',
    existingConnections: 0,
    since: '2026-01-01T00:00:00Z',
  };
}

function verdict(namespaces: number, ...pods: MeshNodePod[]) {
  const index = new EnrolmentIndex();
  index.set('node-1', pods);
  const { status, reason, message } = enrolled(mesh, namespaces, index);
  return `${status} ${reason}: ${message}`;
}

describe('the condition Enrolled', () => {
  it('is False while nothing is labelled, or nothing is reported', () => {
    assert.equal(verdict(0), 'False NothingEnrolled: No namespace is labelled into the mesh.');
    assert.equal(verdict(1), 'False NothingEnrolled: No pod is reported by any node yet.');
  });

  it('is False while a pod is outside or on its way, and names those outside', () => {
    const web = pod('web', 'Secured');
    assert.equal(
      verdict(1, web, pod('cart', 'Failed')),
      'False PodsNotSecured: 1 of 2 pods are outside the mesh: shop/cart (Reason).',
    );
    assert.match(verdict(1, web, pod('cart', 'Pending')), /^False PodsPending: 1 of 2 pods/);
    assert.equal(verdict(1, web), 'True AllSecured: All 1 pods are secured.');
  });

  it('names the namespaces whose label is a mistake, and is not False for them', () => {
    const index = new EnrolmentIndex();
    index.set('node-1', [pod('web', 'Secured')]);
    const { status, message } = enrolled(mesh, 1, index, ['mine (InvalidMode)']);
    assert.equal(status, 'True');
    assert.match(
      message,
      / 1 namespace has a label that cannot be used, see the Events there: mine \(InvalidMode\)\.$/,
    );
  });

  it('R40 names the pods that opted out, whatever else it says, and is not False for them', () => {
    const out = pod('cart', 'OptedOut');
    assert.equal(
      verdict(1, pod('web', 'Secured'), out),
      'True AllSecured: All 1 pods are secured. 1 pod has opted out and is left in plaintext: shop/cart.',
    );
    assert.equal(
      verdict(1, pod('web', 'Failed'), out, pod('redis', 'OptedOut')),
      'False PodsNotSecured: 1 of 1 pods are outside the mesh: shop/web (Reason). ' +
        '2 pods have opted out and are left in plaintext: shop/cart; shop/redis.',
    );
    assert.equal(
      verdict(1, out),
      'False NothingEnrolled: No pod is in the mesh. 1 pod has opted out and is left in plaintext: shop/cart.',
    );
    const many = Array.from({ length: 7 }, (_, i) => pod(`cart-${i}`, 'OptedOut'));
    assert.match(verdict(1, ...many), /7 pods have opted out .*shop\/cart-4; and 2 more\.$/);
  });
});
