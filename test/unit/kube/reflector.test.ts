import assert from 'node:assert/strict';
import { Reflector } from '../../../src/kube/cache/reflector.ts';
import { ApiError, type Query, type WatchEvent } from '../../../src/kube/client/client.ts';
import type { KubeList, KubeObject } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { FakeClock, turn } from '../../fixtures/fake-clock.ts';

type Page = { items: KubeObject[]; version: string; next?: string };

/** An API server of one collection, told by the test what to answer. Watches stay open until the test ends them. */
class ScriptedServer {
  readonly lists: (Page | Error)[] = [];
  readonly listQueries: Query[] = [];
  readonly watchQueries: Query[] = [];
  #watch: { push: (event: WatchEvent) => void; fail: (error: Error) => void; end: () => void } | undefined;
  refuseWatch: Error | undefined;

  list = async <T extends KubeObject>(_path: string, query: Query = {}): Promise<KubeList<T>> => {
    this.listQueries.push(query);
    const answer = this.lists.shift();
    if (answer === undefined) throw new Error('connection refused');
    if (answer instanceof Error) throw answer;
    const { items, version, next = '' } = answer;
    const list: KubeList<KubeObject> = { metadata: { resourceVersion: version, continue: next }, items };
    return JSON.parse(JSON.stringify(list));
  };

  async *watch<T extends KubeObject>(
    _path: string,
    query: Query,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    this.watchQueries.push(query);
    if (this.refuseWatch !== undefined) throw this.refuseWatch;
    const events: WatchEvent[] = [];
    let ended: Error | true | undefined;
    let wake = () => {};
    this.#watch = {
      push: (event) => {
        events.push(event);
        wake();
      },
      fail: (error) => {
        ended = error;
        wake();
      },
      end: () => {
        ended = true;
        wake();
      },
    };
    signal.addEventListener('abort', () => this.#watch?.end());
    for (;;) {
      const event = events.shift();
      if (event !== undefined) yield JSON.parse(JSON.stringify(event));
      else if (ended instanceof Error) throw ended;
      else if (ended) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }

  async send(type: WatchEvent['type'], object: KubeObject): Promise<void> {
    this.#watch?.push({ type, object });
    await turn();
  }

  async breakWatch(error: Error): Promise<void> {
    this.#watch?.fail(error);
    await turn();
  }

  async endWatch(): Promise<void> {
    this.#watch?.end();
    await turn();
  }
}

const pod = (name: string, version: number, uid = name): KubeObject => ({
  metadata: { namespace: 'shop', name, uid, resourceVersion: String(version) },
});
const gone = new ApiError({ status: 410, reason: 'Expired', message: 'too old', path: 'GET /api/v1/pods' });
const lost = new Error('socket hang up');

describe('the reflector', () => {
  let server: ScriptedServer;
  let clock: FakeClock;
  let stop: AbortController;
  let reflector: Reflector<KubeObject>;
  let seen: string[];

  const names = () =>
    reflector.store
      .keys()
      .map((key) => key.replace('shop/', ''))
      .sort();

  async function started(...lists: (Page | Error)[]): Promise<void> {
    server.lists.push(...lists);
    reflector.start(stop.signal);
    await turn();
  }

  beforeEach(() => {
    server = new ScriptedServer();
    clock = new FakeClock();
    stop = new AbortController();
    seen = [];
    reflector = new Reflector({
      client: server,
      path: '/api/v1/pods',
      log: silentLog,
      clock,
      random: () => 0.5,
      pageSize: 2,
    });
    reflector.onEvent((event) => seen.push(`${event.type} ${event.object.metadata.name}`));
  });

  afterEach(async () => {
    stop.abort();
    await reflector.stopped();
    assert.equal(clock.sleeping, 0, 'a timer was left behind');
  });

  it('takes over a list of several pages at once, then watches from its version, with bookmarks', async () => {
    await started(
      { items: [pod('a', 1), pod('b', 2)], version: '10', next: 'more' },
      { items: [pod('c', 3)], version: '10' },
    );
    await reflector.synced();
    assert.deepEqual(names(), ['a', 'b', 'c']);
    assert.deepEqual(server.listQueries, [
      { limit: 2, continue: undefined },
      { limit: 2, continue: 'more' },
    ]);
    assert.equal(server.watchQueries[0]?.resourceVersion, '10');
    assert.equal(server.watchQueries[0]?.allowWatchBookmarks, true);
  });

  it('follows events and reports each once, with what was there before', async () => {
    await started({ items: [pod('a', 1)], version: '10' });
    const olds: (string | undefined)[] = [];
    reflector.onEvent((event) => olds.push(event.type === 'modified' ? event.old.metadata.resourceVersion : undefined));
    await server.send('MODIFIED', pod('a', 11));
    await server.send('ADDED', pod('b', 12));
    await server.send('DELETED', pod('a', 13));
    assert.deepEqual(seen, ['added a', 'modified a', 'added b', 'deleted a']);
    assert.deepEqual(olds, ['1', undefined, undefined]);
    assert.deepEqual(names(), ['b']);
  });

  it('goes on from the last bookmark when a watch ends or breaks, without a new list', async () => {
    await started({ items: [pod('a', 1)], version: '10' });
    await server.send('BOOKMARK', pod('', 50));
    await server.breakWatch(lost);
    await clock.advance(1_000);
    assert.equal(server.watchQueries.at(-1)?.resourceVersion, '50');
    assert.equal(server.listQueries.length, 1);
    await clock.advance(20_000);
    await server.endWatch();
    assert.equal(server.watchQueries.length, 3);
  });

  it('lists again after 410 and reports only the differences', async () => {
    await started({ items: [pod('a', 1), pod('b', 2), pod('c', 3)], version: '10' });
    seen.length = 0;
    server.lists.push({ items: [pod('b', 2), pod('c', 21), pod('d', 20)], version: '30' });
    await server.breakWatch(gone);
    assert.deepEqual(seen, ['deleted a', 'modified c', 'added d']);
    assert.equal(server.watchQueries.at(-1)?.resourceVersion, '30');
  });

  it('reports an object that was replaced under its name as deleted and added', async () => {
    await started({ items: [pod('a', 1, 'first')], version: '10' });
    await server.send('MODIFIED', pod('a', 11, 'second'));
    assert.deepEqual(seen, ['added a', 'deleted a', 'added a']);
  });

  it('R16 keeps everything while the API server is away for an hour, and asks every few seconds', async () => {
    await started({ items: [pod('a', 1), pod('b', 2)], version: '10' });
    server.refuseWatch = lost;
    await server.breakWatch(lost);
    await clock.advance(3_600_000);
    assert.deepEqual(names(), ['a', 'b']);
    assert.deepEqual(seen, ['added a', 'added b']);
    assert.ok(
      server.watchQueries.length > 700 && server.watchQueries.length < 1500,
      `${server.watchQueries.length} attempts`,
    );
  });

  it('R16 deletes nothing on a list of which a page failed', async () => {
    await started({ items: [pod('a', 1), pod('b', 2)], version: '10' });
    const partial = { items: [pod('b', 2)], version: '20', next: 'more' };
    server.lists.push(partial, lost, partial, gone);
    server.refuseWatch = gone;
    await server.breakWatch(gone);
    await clock.advance(600);
    assert.equal(server.lists.length, 0, 'both lists were asked for');
    assert.deepEqual(names(), ['a', 'b']);
    server.lists.push({ items: [pod('b', 2)], version: '20' });
    await clock.advance(2_000);
    assert.deepEqual(names(), ['b']);
  });

  it('has the news of a server that comes back within five seconds, however long it was away', async () => {
    await started({ items: [pod('a', 1)], version: '10' });
    server.refuseWatch = lost;
    await server.breakWatch(lost);
    await clock.advance(600_000);
    server.refuseWatch = gone;
    server.lists.push({ items: [pod('a', 2)], version: '20' });
    await clock.advance(5_000);
    assert.deepEqual(seen, ['added a', 'modified a']);
  });

  it('R16 believes an empty list over a full store only when it lasts', async () => {
    await started({ items: [pod('a', 1)], version: '10' });
    server.refuseWatch = gone;
    for (let i = 0; i < 20; i += 1) server.lists.push({ items: [], version: '20' });
    await server.breakWatch(gone);
    await clock.advance(4_000);
    assert.deepEqual(names(), ['a']);
    server.lists.length = 0;
    server.lists.push({ items: [pod('a', 1)], version: '21' });
    server.refuseWatch = gone;
    await clock.advance(8_000);
    assert.deepEqual(names(), ['a']);
    assert.deepEqual(seen, ['added a']);
  });

  it('R16 follows an empty list that stays', async () => {
    await started({ items: [pod('a', 1)], version: '10' });
    server.refuseWatch = gone;
    for (let i = 0; i < 20; i += 1) server.lists.push({ items: [], version: '20' });
    await server.breakWatch(gone);
    await clock.advance(30_000);
    assert.deepEqual(names(), []);
  });

  it('R16 does not go back to a stale list, nor to a replayed event', async () => {
    await started({ items: [pod('a', 90), pod('b', 91)], version: '100' });
    server.lists.push({ items: [pod('a', 5)], version: '50' }, { items: [pod('a', 90), pod('b', 91)], version: '101' });
    await server.breakWatch(gone);
    await clock.advance(5_000);
    assert.deepEqual(names(), ['a', 'b']);
    await server.send('MODIFIED', pod('a', 5));
    assert.equal(reflector.store.get('shop/a')?.metadata.resourceVersion, '90');
    assert.deepEqual(seen, ['added a', 'added b']);
  });

  it('R16 does not bring back what was deleted, on a replayed event', async () => {
    await started({ items: [pod('a', 90), pod('b', 91)], version: '100' });
    await server.send('DELETED', pod('a', 101));
    await server.send('ADDED', pod('a', 90));
    await server.send('MODIFIED', pod('a', 95));
    assert.deepEqual(names(), ['b']);
    await server.send('ADDED', pod('a', 102));
    assert.deepEqual(names(), ['a', 'b']);
  });

  it('follows a server whose data stay older than before for ten minutes: it was restored', async () => {
    await started({ items: [pod('a', 90), pod('b', 91)], version: '100' });
    for (let i = 0; i < 300; i += 1) server.lists.push({ items: [pod('a', 5)], version: '50' });
    server.refuseWatch = gone;
    await server.send('BOOKMARK', pod('', 50));
    await clock.advance(500_000);
    assert.deepEqual(names(), ['a', 'b']);
    await clock.advance(160_000);
    assert.deepEqual(names(), ['a']);
  });

  it('goes on with other handlers and events when a handler throws', async () => {
    await started({ items: [], version: '10' });
    const heard: string[] = [];
    reflector.onEvent(() => {
      throw new Error('a bug');
    });
    reflector.onEvent(({ type }) => heard.push(type));
    await server.send('ADDED', pod('a', 11));
    await server.send('DELETED', pod('a', 12));
    assert.deepEqual(heard, ['added', 'deleted']);
  });

  it('R39 makes the objects of a page lean before it asks for the next, and those of a watch as they come', async () => {
    const happened: string[] = [];
    const lean = new Reflector<KubeObject>({
      client: {
        list: (path, query) => {
          happened.push('a page');
          return server.list(path, query);
        },
        watch: server.watch.bind(server),
      },
      path: '/api/v1/pods',
      log: silentLog,
      clock,
      transform: ({ metadata }) => {
        happened.push(metadata.name);
        return { metadata: { ...metadata, labels: { lean: 'yes' } } };
      },
    });
    server.lists.push(
      { items: [pod('a', 1), pod('b', 2)], version: '10', next: 'more' },
      { items: [pod('c', 3)], version: '10' },
    );
    lean.start(stop.signal);
    await lean.synced();
    await turn();
    assert.deepEqual(happened, ['a page', 'a', 'b', 'a page', 'c']);
    await server.send('MODIFIED', pod('a', 11));
    assert.deepEqual(
      lean.store.list().map(({ metadata }) => metadata.labels?.lean),
      ['yes', 'yes', 'yes'],
    );
    stop.abort();
    await lean.stopped();
  });

  it('is synced by the first complete list only, and says so when it is stopped before', async () => {
    await started(lost);
    assert.equal(reflector.hasSynced, false);
    stop.abort();
    await assert.rejects(reflector.synced(), /stopped before it had synced/);
  });

  it('waits as long as an overloaded server asks', async () => {
    const busy = { status: 429, reason: 'TooManyRequests', message: 'later', path: 'GET /api/v1/pods' };
    await started(new ApiError({ ...busy, retryAfterMs: 7_000 }), { items: [], version: '1' });
    await clock.advance(6_999);
    assert.equal(reflector.hasSynced, false);
    await clock.advance(1);
    assert.equal(reflector.hasSynced, true);
  });
});
