import assert from 'node:assert/strict';
import { TulleError } from '../../../src/errors/tulle-error.ts';
import { FairQueue } from '../../../src/limits/fair-queue.ts';

const overloaded = () => new TulleError('IssuanceOverloaded', 'Too much.');

/** A queue whose tasks end when the test says so, and what began, in order. */
function setUp(limits: { running: number; waiting: number; waitingEach: number }) {
  const queue = new FairQueue(limits, overloaded);
  const began: string[] = [];
  const ends: (() => void)[] = [];
  const add = (holder: string, task: string) =>
    queue
      .run(holder, () => {
        began.push(task);
        return new Promise<void>((resolve) => ends.push(resolve));
      })
      .then(
        () => 'done',
        (error: { code?: string }) => error.code,
      );
  /** Ends the oldest task that runs. */
  const endOne = async () => {
    ends.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { queue, began, add, endOne };
}

describe('the fair queue', () => {
  it('R13 runs so many at once, lets so many wait, and refuses the rest at once', async () => {
    const { began, add, endOne } = setUp({ running: 2, waiting: 3, waitingEach: 3 });
    const results = Array.from({ length: 10 }, (_, index) => add('one', String(index)));
    await Promise.resolve();
    assert.deepEqual(began, ['0', '1']);
    for (let index = 0; index < 5; index++) await endOne();
    assert.deepEqual(await Promise.all(results), [
      ...new Array(5).fill('done'),
      ...new Array(5).fill('IssuanceOverloaded'),
    ]);
    assert.deepEqual(began, ['0', '1', '2', '3', '4'], 'in the order they came');
  });

  it('R38 gives each its turn, whoever else has how much to do', async () => {
    const { began, add, endOne } = setUp({ running: 1, waiting: 100, waitingEach: 50 });
    for (let index = 0; index < 40; index++) void add('greedy', `g${index}`);
    void add('modest', 'm0');
    void add('modest', 'm1');
    void add('other', 'o0');
    await new Promise((resolve) => setImmediate(resolve));
    for (let index = 0; index < 6; index++) await endOne();
    assert.deepEqual(began, ['g0', 'g1', 'm0', 'o0', 'g2', 'm1', 'g3']);
  });

  it('R38 lets one fill its own share and no other’s', async () => {
    const { add } = setUp({ running: 1, waiting: 4, waitingEach: 3 });
    for (let index = 0; index < 4; index++) void add('greedy', `g${index}`);
    assert.equal(await add('greedy', 'g4'), 'IssuanceOverloaded');
    const modest = add('modest', 'm0');
    assert.equal(await Promise.race([modest, Promise.resolve('waits')]), 'waits');
  });

  it('gives the place of a task that failed to the next', async () => {
    const queue = new FairQueue({ running: 1, waiting: 1, waitingEach: 1 }, overloaded);
    const failed = queue.run('one', () => Promise.reject(new Error('no')));
    const next = queue.run('one', async () => 'served');
    await assert.rejects(failed, /no/);
    assert.equal(await next, 'served');
    assert.equal(await queue.run('one', async () => 'again'), 'again');
  });
});
