import assert from 'node:assert/strict';
import { WorkQueue } from '../../../src/kube/controller/work-queue.ts';
import { FakeClock, turn } from '../../fixtures/fake-clock.ts';

describe('the work queue', () => {
  let clock: FakeClock;
  let queue: WorkQueue;
  const never = new AbortController().signal;

  beforeEach(() => {
    clock = new FakeClock();
    queue = new WorkQueue({ baseMs: 100, maxMs: 1_000, clock, random: () => 1 });
  });

  it('holds a key once, however often it is added', async () => {
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    assert.equal(queue.depth, 2);
    assert.equal(await queue.take(never), 'a');
    assert.equal(await queue.take(never), 'b');
    assert.equal(queue.depth, 0);
  });

  it('gives a key to one worker at a time, and again when it was added meanwhile', async () => {
    queue.add('a');
    await queue.take(never);
    queue.add('a');
    queue.add('a');
    let second: string | undefined;
    const taken = queue.take(never).then((key) => {
      second = key;
    });
    await turn();
    assert.equal(second, undefined);
    queue.done('a');
    await taken;
    assert.equal(second, 'a');
    queue.done('a');
    assert.equal(queue.depth, 0);
  });

  it('waits longer after each failure of a key, never longer than the limit, and starts over when forgotten', () => {
    const waits = Array.from({ length: 6 }, () => queue.retry('a'));
    assert.deepEqual(waits, [100, 200, 400, 800, 1_000, 1_000]);
    queue.forget('a');
    assert.equal(queue.retry('a'), 100);
  });

  it('hands a delayed key out when its time has come, not before', async () => {
    queue.addAfter('a', 500);
    await clock.advance(499);
    assert.equal(queue.depth, 0);
    await clock.advance(1);
    assert.equal(queue.depth, 1);
  });

  it('takes the earliest of several wishes for later, and an add at once voids them', async () => {
    queue.addAfter('a', 500);
    queue.addAfter('a', 200);
    queue.addAfter('a', 900);
    await clock.advance(200);
    assert.equal(await queue.take(never), 'a');
    queue.done('a');
    await clock.advance(1_000);
    assert.equal(queue.depth, 0);
    queue.addAfter('b', 500);
    queue.add('b');
    assert.equal(clock.sleeping, 0);
  });

  it('lets a worker go when its signal aborts', async () => {
    const abort = new AbortController();
    const taken = queue.take(abort.signal);
    abort.abort();
    assert.equal(await taken, undefined);
    queue.add('a');
    assert.equal(queue.depth, 1, 'the key was given to a worker that had left');
  });

  it('closed, has no timer, no key and no worker waiting', async () => {
    queue.addAfter('later', 500);
    const taken = queue.take(never);
    queue.close();
    queue.add('a');
    assert.equal(await taken, undefined);
    assert.equal(clock.sleeping, 0);
    assert.equal(queue.depth + queue.pending, 0);
  });

  it('is idle when no key waits for a worker or is with one', async () => {
    let idle = false;
    queue.add('a');
    void queue.idle().then(() => {
      idle = true;
    });
    await queue.take(never);
    await turn();
    assert.equal(idle, false);
    queue.done('a');
    await turn();
    assert.equal(idle, true);
  });
});
