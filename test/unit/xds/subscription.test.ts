import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict';
import { addressType, type Resource } from '../../../src/xds/resource.ts';
import { ResourceStore } from '../../../src/xds/resource-store.ts';
import { maxKeys, Subscription, type SubscriptionRequest } from '../../../src/xds/subscription.ts';
import { type Answer, resource, seen } from './proxy.ts';

const none = { subscribe: [], unsubscribe: [], initialVersions: new Map() };

/** A store, and one client's subscription to it. */
function setUp(...resources: readonly Resource[]) {
  const store = new ResourceStore(addressType);
  const subscription = new Subscription(store);
  store.onChange((change) => subscription.changed(change));
  const set = (...values: readonly Resource[]) => store.apply(values.map((value) => [value.name, value]));
  set(...resources);
  return {
    store,
    subscription,
    set,
    remove: (...names: readonly string[]) => store.apply(names.map((name) => [name, undefined])),
    send: (request: Partial<SubscriptionRequest>) => subscription.receive({ ...none, ...request }),
    news(): Answer | undefined {
      const news = subscription.news();
      return news && seen(news);
    },
  };
}

const content = (answer: Answer | undefined) => answer && [answer.resources, answer.removed];

describe('a client that wants everything', () => {
  it('gets it, by asking for nothing in particular or for *', () => {
    for (const subscribe of [[], ['*']]) {
      const client = setUp(resource('a'), resource('b', '7'));
      client.send({ subscribe });
      deepStrictEqual(content(client.news()), [{ a: '1', b: '7' }, []]);
      strictEqual(client.news(), undefined);
    }
  });

  it('is answered when there is nothing: it waits for that', () => {
    const client = setUp();
    client.send({});
    deepStrictEqual(content(client.news()), [{}, []]);
    strictEqual(client.news(), undefined);
  });

  it('hears of what changed and what is gone, and of nothing else', () => {
    const client = setUp(resource('a'), resource('b'), resource('c'));
    client.send({});
    client.news();
    client.set(resource('a', '2'), resource('b', '1'));
    client.remove('c', 'never-was');
    deepStrictEqual(content(client.news()), [{ a: '2' }, ['c']]);
    strictEqual(client.news(), undefined);
  });

  it('is sent only the difference when it comes back', () => {
    const client = setUp(resource('same'), resource('changed', '2'), resource('new'));
    const initialVersions = new Map([
      ['same', '1'],
      ['changed', '1'],
      ['gone', '1'],
    ]);
    client.send({ initialVersions });
    deepStrictEqual(content(client.news()), [{ changed: '2', new: '1' }, ['gone']]);
  });

  it('is answered when it comes back and has missed nothing', () => {
    const client = setUp(resource('same'));
    client.send({ initialVersions: new Map([['same', '1']]) });
    deepStrictEqual(content(client.news()), [{}, []]);
  });

  it('is sent what a slow moment hid from it once, as it is then', () => {
    const client = setUp(resource('a'), resource('b'));
    client.send({});
    client.news();
    for (let version = 2; version <= 100; version++) client.set(resource('a', String(version)));
    client.set(resource('fleeting'));
    client.remove('fleeting', 'b');
    deepStrictEqual(content(client.news()), [{ a: '100' }, ['fleeting', 'b']]);
  });
});

describe('a client that asks by name', () => {
  const onDemand = { subscribe: ['*'], unsubscribe: ['*'] };
  const web = (version = '1', ip = '10.0.0.1') => resource('pod/web', version, { aliases: [`/${ip}`] });

  it('is answered before it has asked for anything, however it says that it will', () => {
    for (const request of [onDemand, { unsubscribe: ['*'] }]) {
      const client = setUp(web());
      client.send(request);
      deepStrictEqual(content(client.news()), [{}, []]);
      client.set(web('2'));
      strictEqual(client.news(), undefined);
    }
  });

  it('gets a resource by name or by alias, under its own name', () => {
    for (const key of ['pod/web', '/10.0.0.1']) {
      const client = setUp(web(), resource('pod/other'));
      client.send({ subscribe: [key] });
      deepStrictEqual(content(client.news()), [{ 'pod/web': '1' }, []]);
      client.set(web('2'));
      deepStrictEqual(content(client.news()), [{ 'pod/web': '2' }, []]);
    }
  });

  it('is told that there is nothing, and told when there is', () => {
    const client = setUp();
    client.send({ subscribe: ['/10.0.0.1'] });
    deepStrictEqual(content(client.news()), [{}, ['/10.0.0.1']]);
    client.set(web());
    deepStrictEqual(content(client.news()), [{ 'pod/web': '1' }, []]);
    client.remove('pod/web');
    deepStrictEqual(content(client.news()), [{}, ['pod/web', '/10.0.0.1']]);
  });

  it('is answered again when it asks again', () => {
    const client = setUp(web());
    client.send({ subscribe: ['/10.0.0.1'] });
    client.news();
    client.send({ subscribe: ['pod/web'] });
    deepStrictEqual(content(client.news()), [{ 'pod/web': '1' }, []]);
    client.send({ subscribe: ['pod/web'] });
    deepStrictEqual(content(client.news()), [{ 'pod/web': '1' }, []]);
  });

  it('sees an address move from one workload to another', () => {
    const client = setUp(web());
    client.send({ subscribe: ['/10.0.0.1'] });
    client.news();
    client.set(web('2', '10.0.0.2'), resource('pod/next', '1', { aliases: ['/10.0.0.1'] }));
    deepStrictEqual(content(client.news()), [{ 'pod/next': '1' }, ['pod/web']]);
  });

  it('keeps a workload that moves from one address it asked for to another', () => {
    const client = setUp(web());
    client.send({ subscribe: ['/10.0.0.1', '/10.0.0.2'] });
    client.news();
    client.set(web('2', '10.0.0.2'));
    deepStrictEqual(content(client.news()), [{ 'pod/web': '2' }, ['/10.0.0.1']]);
  });

  it('gets the workloads of a service with it, and as they come and go', () => {
    const cart = resource('shop/cart', '1', { aliases: ['/10.96.0.1'] });
    const pod = (name: string) => resource(name, '1', { memberOf: ['shop/cart'] });
    const client = setUp(cart, pod('p1'), resource('p2'));
    client.send({ subscribe: ['/10.96.0.1'] });
    deepStrictEqual(content(client.news()), [{ 'shop/cart': '1', p1: '1' }, []]);
    client.set(resource('p2', '2', { memberOf: ['shop/cart'] }));
    deepStrictEqual(content(client.news()), [{ p2: '2' }, []]);
    client.set(resource('p1', '2'));
    deepStrictEqual(content(client.news()), [{}, ['p1']]);
  });

  it('hears nothing more of what it gave up', () => {
    const client = setUp(web());
    client.send({ subscribe: ['/10.0.0.1', 'pod/web'] });
    client.news();
    client.send({ unsubscribe: ['/10.0.0.1'] });
    client.set(web('2'));
    deepStrictEqual(content(client.news()), [{ 'pod/web': '2' }, []]);
    client.send({ unsubscribe: ['pod/web'] });
    client.remove('pod/web');
    strictEqual(client.news(), undefined);
  });

  it('is told the difference of what it had when it comes back', () => {
    const client = setUp(web('2'), resource('same'));
    const initialVersions = new Map([
      ['pod/web', '1'],
      ['same', '1'],
      ['gone', '1'],
    ]);
    client.send({ unsubscribe: ['*'], initialVersions });
    deepStrictEqual(content(client.news()), [{ 'pod/web': '2' }, ['gone']]);
    client.set(resource('same', '2'));
    deepStrictEqual(content(client.news()), [{ same: '2' }, []]);
  });

  it('may change its mind and want everything, and back', () => {
    const client = setUp(web(), resource('other'));
    client.send({ subscribe: ['pod/web'] });
    client.news();
    client.send({ subscribe: ['*'] });
    deepStrictEqual(content(client.news()), [{ other: '1' }, []]);
    client.send({ unsubscribe: ['*'] });
    client.set(web('2'), resource('other', '2'));
    deepStrictEqual(content(client.news()), [{ 'pod/web': '2' }, []]);
  });

  it('cannot ask for more names than there are reasons for', () => {
    const client = setUp();
    const subscribe = Array.from({ length: maxKeys + 1 }, (_, index) => `/${index}`);
    throws(() => client.send({ subscribe }), { code: 'XdsSubscriptionTooLarge' });
    throws(() => client.send({ subscribe: ['x'.repeat(5000)] }), { code: 'XdsRequestInvalid' });
  });

  it('may name what it likes', () => {
    const client = setUp(web());
    client.send({ subscribe: ['__proto__', 'constructor', '', '/'] });
    const answer = client.news();
    ok(answer);
    deepStrictEqual([...answer.removed].sort(), ['', '/', '__proto__', 'constructor']);
  });
});
