import assert from 'node:assert/strict';
import { cartService } from '../../../config/samples/shop/app/cart.ts';
import { CartStore } from '../../../config/samples/shop/app/cart-store.ts';
import { HttpClient } from '../../../config/samples/shop/app/http-client.ts';
import { type RunningServer, serveHttp } from '../../../config/samples/shop/app/http-server.ts';
import { VisitRecord } from '../../../config/samples/shop/app/visit-record.ts';
import { Visitor } from '../../../config/samples/shop/app/visitor.ts';
import { webFront } from '../../../config/samples/shop/app/web.ts';
import { quietly } from './quiet.ts';
import { type FakeRedis, startFakeRedis } from './redis-fixture.ts';

const newClient = (keepAlive: boolean) => new HttpClient({ keepAlive, maxConnectionAgeMs: 60_000, timeoutMs: 5000 });

describe('the shop', () => {
  let redis: FakeRedis;
  let store: CartStore;
  let cart: RunningServer;
  let web: RunningServer;
  let clients: HttpClient[];
  let visitor: Visitor;
  let webUrl: string;

  quietly();

  beforeEach(async () => {
    redis = await startFakeRedis();
    store = new CartStore(redis.url);
    cart = await serveHttp(0, cartService(store));
    const [toCart, keeping, fresh] = [newClient(true), newClient(true), newClient(false)];
    clients = [toCart, keeping, fresh];
    web = await serveHttp(0, webFront(`http://127.0.0.1:${cart.port}`, toCart));
    webUrl = `http://127.0.0.1:${web.port}`;
    visitor = new Visitor({ webUrl, visitsPerSecond: 1, clients: [keeping, fresh] });
  });

  afterEach(async () => {
    for (const client of clients) client.close();
    await Promise.all([web.close(), cart.close()]);
    await store.close();
    await redis.close();
  });

  const get = async (path: string) => (await fetch(`${webUrl}${path}`)).status;
  const put = async (path: string, body: string) => (await fetch(`${webUrl}${path}`, { method: 'PUT', body })).status;

  it('serves whole visits over kept and over new connections', async () => {
    for (let i = 0; i < 6; i += 1) await visitor.visit();
    const stats = visitor.stats();
    assert.deepEqual([stats.ok, stats.failed], [6, 0]);
    assert.equal(stats.keptConnections.connectionsOpened, 1);
    assert.equal(stats.newConnections.connectionsOpened, 6);
  });

  it('is ready only once it has reached the cart, and stays so', async () => {
    await cart.close();
    assert.equal(await get('/readyz'), 500);
    cart = await serveHttp(cart.port, cartService(store));
    assert.equal(await get('/readyz'), 200);
    await cart.close();
    assert.equal(await get('/readyz'), 200);
  });

  it('loses no visit when its connection to Redis is cut', async () => {
    await visitor.visit();
    redis.cutOn('HGETALL', 1);
    await Promise.all(Array.from({ length: 8 }, () => visitor.visit()));
    assert.deepEqual([visitor.stats().ok, visitor.stats().failed], [9, 0]);
    assert.equal(redis.connections, 2);
  });

  it('counts a visit that finds something else in its cart', async () => {
    await visitor.visit();
    store.read = async () => ({ 'tea-01': 98 });
    await visitor.visit();
    const { failed, recentFailures } = visitor.stats();
    assert.equal(failed, 1);
    assert.match(recentFailures[0]?.text ?? '', /put 2 of tea-02, found .*"tea-01":98/);
  });

  it('counts a visit that the shop answers with an error', async () => {
    await visitor.visit();
    redis.failOn('HGETALL');
    await visitor.visit();
    assert.match(visitor.stats().recentFailures[0]?.text ?? '', /status 502: .*not today/);
  });

  it('refuses what it cannot sell', async () => {
    assert.equal(await put('/api/carts/1/lines/tea-01', '{"quantity":2}'), 200);
    assert.equal(await put('/api/carts/1/lines/gold', '{"quantity":2}'), 404);
    for (const body of ['', 'null', '{"quantity":0}', '{"quantity":1.5}', '{"quantity":"2"}', '{"quantity":100}']) {
      assert.equal(await put('/api/carts/1/lines/tea-01', body), 400, body);
    }
    assert.equal(await put('/api/carts/1/lines/tea-01', 'x'.repeat(70_000)), 413);
    assert.equal(await get('/api/carts/%E0%A4%A'), 400);
    assert.equal(await get('/nothing'), 404);
    assert.equal(await get('/'), 200);
  });

  it('is ready only while it can reach Redis', async () => {
    const readyz = async () => (await fetch(`http://127.0.0.1:${cart.port}/readyz`)).status;
    const nobody = new CartStore('redis://127.0.0.1:1');
    const waiting = await serveHttp(0, cartService(nobody));
    assert.equal((await fetch(`http://127.0.0.1:${waiting.port}/readyz`)).status, 503);
    assert.equal((await fetch(`http://127.0.0.1:${waiting.port}/healthz`)).status, 200);
    while (!store.ready) await new Promise(setImmediate);
    assert.equal(await readyz(), 200);
    await waiting.close();
    await nobody.close();
  });
});

describe('the record of visits', () => {
  const at = (second: number) => new Date(second * 1000);

  it('begins with the first success: a shop that still starts is no failure', () => {
    const record = new VisitRecord();
    record.failed(at(0), at(1), 'connection refused');
    record.succeeded(at(2));
    record.failed(at(1), at(11), 'no answer within ten seconds');
    record.failed(at(2), at(13), 'socket hang up');
    assert.deepEqual(record.counts(), {
      since: at(2).toISOString(),
      ok: 1,
      failed: 1,
      recentFailures: [{ at: at(13).toISOString(), text: 'socket hang up' }],
    });
  });

  it('keeps the last twenty failures', () => {
    const record = new VisitRecord();
    record.succeeded(at(0));
    for (let i = 1; i <= 30; i += 1) record.failed(at(i), at(i), `failure ${i}`);
    const { failed, recentFailures } = record.counts();
    assert.equal(failed, 30);
    assert.deepEqual(
      [recentFailures.length, recentFailures[0]?.text, recentFailures.at(-1)?.text],
      [20, 'failure 11', 'failure 30'],
    );
  });
});
