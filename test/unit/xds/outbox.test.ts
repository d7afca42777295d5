import assert from 'node:assert/strict';
import { Outbox } from '../../../src/xds/outbox.ts';

describe('an outbox', () => {
  it('gives what was put in, in order, and says of each that it has left when the next is asked for', async () => {
    const outbox = new Outbox<number>();
    const left: number[] = [];
    for (const item of [1, 2]) outbox.put(item, () => left.push(item));
    const taken = outbox[Symbol.asyncIterator]();
    assert.equal((await taken.next()).value, 1);
    assert.equal(left.length, 0);
    assert.equal((await taken.next()).value, 2);
    assert.deepEqual(left, [1]);
    const third = taken.next();
    outbox.put(3, () => left.push(3));
    assert.deepEqual(await third, { done: false, value: 3 });
    assert.deepEqual(left, [1, 2]);
  });

  it('ends whoever waits, with its error, and gives nothing more', async () => {
    const outbox = new Outbox<number>();
    const waiting = outbox[Symbol.asyncIterator]().next();
    outbox.end();
    assert.equal((await waiting).done, true);
    const refused = new Outbox<number>();
    refused.put(1, () => {});
    refused.end(new Error('silent'));
    refused.put(2, () => {});
    await assert.rejects(refused[Symbol.asyncIterator]().next(), /silent/);
  });
});
