import assert from 'node:assert/strict';
import { done, requeueAfter, sooner } from '../../../src/runtime/reconciler.ts';

describe('two outcomes of one pass', () => {
  it('look again when the first of them wants to', () => {
    assert.equal(sooner(done, done), done);
    for (const [a, b] of [
      [requeueAfter(1), requeueAfter(2)],
      [requeueAfter(1), done],
    ] as const) {
      assert.equal(sooner(a, b), a);
      assert.equal(sooner(b, a), a);
    }
  });
});
