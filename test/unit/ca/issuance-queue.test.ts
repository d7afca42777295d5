import assert from 'node:assert/strict';
import { IssuanceQueue } from '../../../src/ca/issuance-queue.ts';

describe('the issuance queue', () => {
  it('R13 runs so many at once, lets so many wait, and refuses the rest at once', async () => {
    const queue = new IssuanceQueue({ running: 2, waiting: 3 });
    const gates = Array.from({ length: 10 }, () => Promise.withResolvers<number>());
    const started: number[] = [];
    const results = gates.map((gate, index) =>
      queue
        .run(() => {
          started.push(index);
          return gate.promise;
        })
        .then(
          () => 'done',
          (error: { code?: string }) => error.code,
        ),
    );
    await Promise.resolve();
    assert.deepEqual(started, [0, 1]);
    for (const [index, gate] of gates.entries()) gate.resolve(index);
    assert.deepEqual(await Promise.all(results), [
      ...new Array(5).fill('done'),
      ...new Array(5).fill('IssuanceOverloaded'),
    ]);
    assert.deepEqual(started, [0, 1, 2, 3, 4], 'in the order they came');
  });

  it('gives the place of a task that failed to the next', async () => {
    const queue = new IssuanceQueue({ running: 1, waiting: 1 });
    const failed = queue.run(() => Promise.reject(new Error('no')));
    const next = queue.run(async () => 'served');
    await assert.rejects(failed, /no/);
    assert.equal(await next, 'served');
    assert.equal(await queue.run(async () => 'again'), 'again');
  });
});
