import assert from 'node:assert/strict';
import { permits } from '../../../hack/verify/licences.ts';

describe('licences of dependencies', () => {
  it('allows what can be met with an allowed licence', () => {
    for (const expression of ['MIT', 'MIT OR GPL-3.0', '(MIT OR GPL-3.0) AND ISC', 'MIT/Apache-2.0']) {
      assert.equal(permits(expression), true, expression);
    }
    assert.equal(permits('Apache-2.0 WITH LLVM-exception OR GPL-2.0'), true);
  });

  it('refuses what cannot, and what says nothing', () => {
    for (const expression of ['GPL-3.0', 'MIT AND GPL-3.0', '(GPL-2.0 OR GPL-3.0) AND MIT', 'none', '']) {
      assert.equal(permits(expression), false, expression);
    }
  });
});
