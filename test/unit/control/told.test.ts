import { strictEqual } from 'node:assert/strict';
import { Told } from '../../../src/control/told.ts';

describe('how far all clients have been told', () => {
  it('is the version that the revision they have answered shows', () => {
    const told = new Told();
    strictEqual(told.through(9), undefined);
    told.mark(1, '100');
    told.mark(3, '104');
    told.mark(6, '110');
    strictEqual(told.through(0), undefined);
    strictEqual(told.through(2), '100');
    strictEqual(told.through(3), '104');
    strictEqual(told.through(5), '104');
    strictEqual(told.through(Number.POSITIVE_INFINITY), '110');
  });

  it('is remembered of so many revisions only', () => {
    const told = new Told();
    for (let revision = 1; revision <= 5_000; revision++) told.mark(revision, String(revision));
    strictEqual(told.through(3), undefined);
    strictEqual(told.through(4_990), '4990');
    strictEqual(told.through(5_000), '5000');
  });

  it('is a later version at once where that changed nothing they are told', () => {
    const told = new Told();
    told.mark(1, '100');
    told.mark(1, '105');
    strictEqual(told.through(1), '105');
  });

  it('is a version from the first revision on that shows it', () => {
    const told = new Told();
    told.mark(1, '100');
    told.mark(2, '100');
    strictEqual(told.through(1), '100');
  });
});
