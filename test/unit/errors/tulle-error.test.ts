import assert from 'node:assert/strict';
import { errorCodes } from '../../../src/errors/codes.ts';
import { explain, isTulleError, TulleError } from '../../../src/errors/tulle-error.ts';

describe('errors', () => {
  const cause = new Error('ECONNREFUSED');
  const error = new TulleError('AuthorityLost', 'The Secret is gone.', { fix: 'Restore it.', cause });

  it('carry a code, what went wrong, how to fix it, and the cause', () => {
    assert.equal(error.code, 'AuthorityLost');
    assert.equal(error.message, 'The Secret is gone.');
    assert.equal(error.fix, 'Restore it.');
    assert.equal(error.cause, cause);
    assert.ok(!('cause' in new TulleError('AuthorityLost', 'x')), 'no cause where there is none');
  });

  it('are told from others, and from each other by their code', () => {
    assert.ok(isTulleError(error) && isTulleError(error, 'AuthorityLost'));
    assert.ok(!isTulleError(error, 'CsrInvalid') && !isTulleError(cause) && !isTulleError(undefined));
  });

  it('are explained in one line, whatever was thrown', () => {
    assert.equal(explain(error), 'The Secret is gone. Restore it.');
    assert.equal(explain(cause), 'ECONNREFUSED');
    assert.equal(explain('text'), 'text');
  });

  it('have codes that fit the reason of a condition, each with a sentence', () => {
    for (const [code, meaning] of Object.entries(errorCodes)) {
      assert.match(code, /^[A-Z][A-Za-z0-9]+$/);
      assert.match(meaning, /^[A-Z].*\.$/s, code);
    }
  });
});
