import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type MeshNodePod, type PodState, podStates } from '../../../../src/api/mesh-node.ts';
import { EnrolmentIndex } from '../../../../src/operator/enrolment/pod-index.ts';

let serial = 0;
function pod(namespace: string, state: PodState, name = 'web'): MeshNodePod {
  serial += 1;
  const identity = { uid: `u${serial}`, namespace, name, serviceAccount: 'default', ips: [] };
  const reason = state === 'Failed' ? 'PortInUse' : '';
  return {
    ...identity,
    captured: state === 'Secured',
    state,
    reason,
    message: '',
    existingConnections: 0,
    since: '2026-01-01T00:00:00Z',
  };
}

describe('the index of enrolment', () => {
  it('adds up what several nodes report of a namespace, and forgets what a node no longer does', () => {
    const index = new EnrolmentIndex();
    index.set('n1', [pod('shop', 'Secured'), pod('shop', 'Failed', 'cart'), pod('bank', 'Pending')]);
    index.set('n2', [pod('shop', 'Secured')]);
    assert.deepEqual(index.counts('shop'), { secured: 2, pending: 0, failed: 1, optedOut: 0 });
    assert.deepEqual(index.total(), { secured: 2, pending: 1, failed: 1, optedOut: 0 });
    assert.deepEqual(index.problems('shop'), [{ namespace: 'shop', name: 'cart', reason: 'PortInUse' }]);
    index.set('n1', [pod('shop', 'Secured')]);
    assert.deepEqual(index.counts('shop'), { secured: 2, pending: 0, failed: 0, optedOut: 0 });
    assert.deepEqual(index.counts('bank'), { secured: 0, pending: 0, failed: 0, optedOut: 0 });
    index.set('n1', []);
    index.set('n2', []);
    assert.deepEqual(index.total(), { secured: 0, pending: 0, failed: 0, optedOut: 0 });
  });

  it('R40 tells pods that opted out from those that failed, and names both', () => {
    const index = new EnrolmentIndex();
    index.set('n1', [pod('shop', 'Secured'), pod('shop', 'OptedOut', 'cart'), pod('shop', 'Failed', 'redis')]);
    index.set('n2', [pod('bank', 'OptedOut', 'ledger')]);
    assert.deepEqual(index.counts('shop'), { secured: 1, pending: 0, failed: 1, optedOut: 1 });
    assert.deepEqual(index.optedOut('shop'), [{ namespace: 'shop', name: 'cart' }]);
    assert.deepEqual(
      index.problems('shop').map(({ name }) => name),
      ['redis'],
    );
    assert.deepEqual(index.firstOptedOut(6), [
      { namespace: 'shop', name: 'cart' },
      { namespace: 'bank', name: 'ledger' },
    ]);
    assert.equal(index.firstOptedOut(1).length, 1);
  });

  it('names only the first few problems', () => {
    const index = new EnrolmentIndex();
    for (const node of ['n1', 'n2', 'n3'])
      index.set(
        node,
        Array.from({ length: 5 }, () => pod('shop', 'Failed')),
      );
    assert.equal(index.firstProblems(7).length, 7);
    assert.equal(index.firstProblems(100).length, 15);
  });

  it('equals counting everything anew, after any reports in any order', () => {
    const state = fc.constantFrom<PodState>(...podStates);
    const pods = fc.array(fc.record({ namespace: fc.constantFrom('a', 'b', 'c'), state }), { maxLength: 6 });
    const reports = fc.array(fc.record({ node: fc.constantFrom('n1', 'n2', 'n3'), pods }), { maxLength: 12 });
    fc.assert(
      fc.property(reports, (sequence) => {
        const index = new EnrolmentIndex();
        const last = new Map<string, MeshNodePod[]>();
        for (const report of sequence) {
          const reported = report.pods.map((one) => pod(one.namespace, one.state));
          index.set(report.node, reported);
          last.set(report.node, reported);
        }
        const all = [...last.values()].flat();
        const count = (wanted: PodState, namespace?: string) =>
          all.filter((one) => one.state === wanted && (namespace === undefined || one.namespace === namespace)).length;
        for (const namespace of [undefined, 'a', 'b', 'c']) {
          const expected = {
            secured: count('Secured', namespace),
            pending: count('Pending', namespace),
            failed: count('Failed', namespace),
            optedOut: count('OptedOut', namespace),
          };
          assert.deepEqual(namespace === undefined ? index.total() : index.counts(namespace), expected);
        }
      }),
    );
  });
});
