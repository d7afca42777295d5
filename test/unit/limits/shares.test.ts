import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Shares } from '../../../src/limits/shares.ts';

describe('shares', () => {
  it('are limited for each holder and for all together, and can be given back once', () => {
    const shares = new Shares({ each: 2, all: 3 });
    const [first, second] = [shares.take('a'), shares.take('a')];
    assert.ok(first && second);
    assert.equal(shares.take('a'), undefined);
    assert.ok(shares.take('b'));
    assert.equal(shares.take('c'), undefined, 'all together');
    first();
    first();
    assert.ok(shares.take('c'));
    assert.equal(shares.take('c'), undefined);
    assert.equal(shares.all, 3);
  });

  it('never come to more than the limits, whatever is taken and given back (property)', () => {
    const steps = fc.array(fc.record({ holder: fc.constantFrom('a', 'b', 'c'), gives: fc.boolean() }));
    fc.assert(
      fc.property(steps, (story) => {
        const shares = new Shares({ each: 2, all: 4 });
        const held = new Map<string, (() => void)[]>([...'abc'].map((name) => [name, []]));
        for (const { holder, gives } of story) {
          const mine = held.get(holder) ?? [];
          const all = [...held.values()].flat().length;
          if (gives) mine.pop()?.();
          else {
            const taken = shares.take(holder);
            assert.equal(taken !== undefined, mine.length < 2 && all < 4);
            if (taken !== undefined) mine.push(taken);
          }
          assert.equal(shares.all, [...held.values()].flat().length);
        }
      }),
    );
  });
});
