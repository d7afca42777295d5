import assert from 'node:assert/strict';
import { type ListEvidence, reviewList } from '../../../src/kube/cache/list-trust.ts';

const empty: ListEvidence = {
  lastVersion: '10',
  held: 3,
  listVersion: '20',
  listed: 0,
  doubtedSince: 1_000,
  now: 1_000,
  emptyMustLastMs: 60_000,
};

describe('R16 an empty list', () => {
  it('over a full store is believed when it has lasted as long as was asked for', () => {
    assert.equal(reviewList({ ...empty, now: 60_999 }).trusted, false);
    assert.equal(reviewList({ ...empty, now: 61_000 }).trusted, true);
  });

  it('is believed at once where nothing was known', () => {
    assert.equal(reviewList({ ...empty, held: 0, doubtedSince: undefined }).trusted, true);
  });

  it('is never believed, not even as the first, of what is never empty', () => {
    const never = { ...empty, emptyMustLastMs: Number.POSITIVE_INFINITY };
    assert.equal(reviewList({ ...never, now: 1e12 }).trusted, false);
    assert.equal(reviewList({ ...never, held: 0, lastVersion: undefined }).trusted, false);
    assert.equal(reviewList({ ...never, listed: 1 }).trusted, true);
  });
});
