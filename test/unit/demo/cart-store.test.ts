import assert from 'node:assert/strict';
import { CartStore } from '../../../config/samples/shop/app/cart-store.ts';
import { quietly } from './quiet.ts';
import { type FakeRedis, startFakeRedis } from './redis-fixture.ts';

describe('the carts in Redis', () => {
  let redis: FakeRedis;
  let store: CartStore;

  quietly();

  beforeEach(async () => {
    redis = await startFakeRedis();
    store = new CartStore(redis.url);
    await store.setLine('7', 'tea-01', 3);
  });

  afterEach(async () => {
    await store.close();
    await redis.close();
  });

  it('are read back as they were put, over one connection', async () => {
    await store.setLine('7', 'pot-01', 1);
    assert.deepEqual(await store.read('7'), { 'tea-01': 3, 'pot-01': 1 });
    assert.deepEqual(await store.read('unknown'), {});
    assert.equal(redis.connections, 1);
  });

  it('survive a connection that is cut while a read is on its way', async () => {
    redis.cutOn('HGETALL', 1);
    assert.deepEqual(await store.read('7'), { 'tea-01': 3 });
    assert.deepEqual(store.counts, { connections: 2, commandsRetried: 1 });
  });

  it('survive a connection that is cut while a change is on its way, and change once', async () => {
    redis.cutOn('EXEC', 1);
    await store.setLine('7', 'tea-01', 5);
    assert.deepEqual(await store.read('7'), { 'tea-01': 5 });
    assert.equal(store.counts.commandsRetried, 1);
  });

  it('retry everything that was on its way when many commands shared the connection', async () => {
    redis.cutOn('HGETALL', 1);
    const carts = await Promise.all(Array.from({ length: 20 }, () => store.read('7')));
    assert.ok(carts.every((cart) => cart['tea-01'] === 3));
    assert.equal(store.counts.connections, 2);
  });

  it('do not retry a second time: a command whose connection breaks twice fails', async () => {
    redis.cutOn('HGETALL', 2);
    await assert.rejects(store.read('7'));
  });

  it('do not retry what Redis itself refuses', async () => {
    redis.failOn('HGETALL');
    await assert.rejects(store.read('7'), /not today/);
    assert.equal(store.counts.commandsRetried, 0);
  });
});
