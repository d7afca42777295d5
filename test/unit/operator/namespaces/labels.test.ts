import assert from 'node:assert/strict';
import { labelProblem } from '../../../../src/operator/namespaces/labels.ts';

const problem = (labels: Record<string, string>, name = 'shop') => labelProblem({ metadata: { name, labels } });

describe('labels on a namespace', () => {
  it('are fine when they are ours, or none of our business', () => {
    assert.equal(problem({}), undefined);
    assert.equal(
      problem({ 'mesh.tulle.dev/mode': 'ambient', 'mesh.tulle.dev/use-waypoint': 'w', team: 'a' }),
      undefined,
    );
    assert.equal(problem({ 'mesh.tulle.dev/mode': 'none' }), undefined);
  });

  it('with a typo are reported with the valid values, and what was probably meant', () => {
    const note = problem({ 'mesh.tulle.dev/mode': 'ambiant' });
    assert.deepEqual([note?.type, note?.reason], ['Warning', 'InvalidMode']);
    assert.match(
      note?.note ?? '',
      /"ambiant"; valid values are "ambient" and "none"\. Did you mean "ambient"\? .* not in the mesh/,
    );
    assert.match(problem({ 'mesh.tulle.dev/mode': 'AMBIENT' })?.note ?? '', /mean "ambient"/);
    assert.doesNotMatch(problem({ 'mesh.tulle.dev/mode': 'sidecar' })?.note ?? '', /mean/);
  });

  it('with a key we do not know under our prefix are reported with those we do', () => {
    const note = problem({ 'mesh.tulle.dev/mod': 'ambient' });
    assert.equal(note?.reason, 'UnknownLabel');
    assert.match(note?.note ?? '', /mesh\.tulle\.dev\/mod .*mesh\.tulle\.dev\/mode,/);
  });

  it('on a namespace that is never enrolled are reported as without effect', () => {
    assert.equal(problem({ 'mesh.tulle.dev/mode': 'ambient' }, 'kube-system')?.reason, 'NeverEnrolled');
  });

  it('as long as labels may be are no work', () => {
    assert.equal(problem({ 'mesh.tulle.dev/mode': 'x'.repeat(63) })?.reason, 'InvalidMode');
  });
});
