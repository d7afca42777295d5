import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict';
import { meshesPath } from '../../../src/api/names.ts';
import { ClusterFeed } from '../../../src/control/cluster-feed.ts';
import type { WatchEvent } from '../../../src/kube/client/client.ts';
import type { KubeList, KubeObject } from '../../../src/kube/objects.ts';
import { meshPolicies } from '../../../src/policy/mesh-policies.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { Publisher } from '../../../src/xds/publisher.ts';

/** What is on every cluster that control runs in. */
const neverEmpty = ['/api/v1/pods', '/api/v1/services', '/api/v1/nodes', '/api/v1/namespaces'] as const;

/** An API server with one object of each of those kinds, and a Mesh, if any; watches stay open. */
class MeshServer {
  mesh: KubeObject | undefined;
  empty: readonly string[] = [];
  #version = 1;
  readonly #events: WatchEvent[] = [];
  #wake = () => {};

  list = async <T extends KubeObject>(path: string): Promise<KubeList<T>> => {
    const meshes = this.mesh === undefined ? [] : [this.mesh];
    const isThere = neverEmpty.some((never) => never === path) && !this.empty.includes(path);
    const one = { metadata: { name: 'one', namespace: 'tulle-system', resourceVersion: '1' } };
    const items = path === meshesPath ? meshes : isThere ? [one] : [];
    return JSON.parse(JSON.stringify({ metadata: { resourceVersion: '1' }, items }));
  };

  async *watch<T extends KubeObject>(
    path: string,
    _: unknown,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const over = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    if (path !== meshesPath) return over;
    void over.then(() => this.#wake());
    while (!signal.aborted) {
      const event = this.#events.shift();
      if (event !== undefined) yield JSON.parse(JSON.stringify(event));
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  send(type: WatchEvent['type'], mesh: KubeObject): void {
    this.#version += 1;
    this.#events.push({
      type,
      object: { ...mesh, metadata: { ...mesh.metadata, resourceVersion: String(this.#version) } },
    });
    this.#wake();
  }
}

const mesh = (spec: object, metadata: object = {}) => ({
  metadata: { name: 'default', uid: 'm', resourceVersion: '1', ...metadata },
  spec,
});
const strict = { mtls: { mode: 'Strict' } };
const unusable = { mtls: { mode: 'Perhaps' } };

describe('what proxies are told of the Mesh', () => {
  let server: MeshServer;
  let stop: AbortController;
  let publisher: Publisher;
  let feed: ClusterFeed;
  let started: Promise<void>;

  function start(present?: KubeObject, empty: readonly string[] = []): void {
    server = new MeshServer();
    server.empty = empty;
    server.mesh = present;
    stop = new AbortController();
    publisher = new Publisher(silentLog);
    feed = new ClusterFeed({
      client: server,
      publisher,
      trustDomain: 'cluster.local',
      version: '0.1.0',
      log: silentLog,
    });
    started = feed.start(stop.signal);
    started.catch(() => {});
  }

  async function settled(): Promise<void> {
    for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
    publisher.publish(feed.model.commit(), meshPolicies(feed.model.settings));
  }

  afterEach(async () => {
    stop.abort();
    await feed.stopped();
  });

  it('is its mode, from the first answer on', async () => {
    start(mesh(strict));
    await started;
    strictEqual(feed.ready, true);
    deepStrictEqual(feed.missing(), []);
    strictEqual(publisher.authorizations.size, 1);
  });

  for (const [what, present, missing] of [
    ['there is none', undefined, 'there is no Mesh default'],
    ['it cannot be used', mesh(unusable), 'the Mesh default cannot be used'],
  ] as const) {
    it(`is nothing at all while ${what}: nobody is told that there is no policy`, async () => {
      start(present);
      await settled();
      strictEqual(feed.ready, false);
      deepStrictEqual(feed.missing(), [missing]);
      server.send(present === undefined ? 'ADDED' : 'MODIFIED', mesh(strict));
      await started;
      strictEqual(feed.ready, true);
      strictEqual(publisher.authorizations.size, 1);
    });
  }

  it('stays what it was when it cannot be used any more, and when it is gone without a word', async () => {
    start(mesh(strict));
    await started;
    server.send('MODIFIED', mesh(unusable));
    await settled();
    strictEqual(publisher.authorizations.size, 1);
    server.send('DELETED', mesh(unusable));
    await settled();
    strictEqual(publisher.authorizations.size, 1);
    strictEqual(feed.ready, true);
  });

  it('R15 is one answer for everybody who asks: the spec in force is that of what proxies are told', async () => {
    start(mesh({ ...strict, authority: { leafTtlSeconds: 3600 } }));
    const spec = await feed.specInForce();
    strictEqual(spec().authority.leafTtlSeconds, 3600);
    await started;
    for (const [next, seconds, policies] of [
      [unusable, 3600, 1],
      [{ authority: { leafTtlSeconds: 7200 } }, 7200, 0],
    ] as const) {
      server.send('MODIFIED', mesh(next));
      await settled();
      deepStrictEqual([spec().authority.leafTtlSeconds, publisher.authorizations.size], [seconds, policies]);
    }
  });

  it('R15 stays what it was when it is of another version or engine, as everything else of it does', async () => {
    start(mesh(strict));
    await started;
    for (const spec of [{ version: '9.9.9' }, { node: { engine: 'Ztunnel' } }]) {
      server.send('MODIFIED', mesh(spec));
      await settled();
      strictEqual(publisher.authorizations.size, 1, 'still Strict');
    }
    server.send('MODIFIED', mesh({ version: '0.1.0' }));
    await settled();
    strictEqual(publisher.authorizations.size, 0);
  });

  it('is no policy once it is being deleted, usable or not, nor when it is gone then, until there is another', async () => {
    const deletionTimestamp = '2026-01-02T00:00:00Z';
    for (const spec of [strict, unusable]) {
      start(mesh(strict));
      await started;
      server.send('MODIFIED', mesh(spec, { deletionTimestamp }));
      await settled();
      strictEqual(publisher.authorizations.size, 0);
      server.send('DELETED', mesh(spec, { deletionTimestamp }));
      await settled();
      strictEqual(publisher.authorizations.size, 0);
      server.send('ADDED', mesh(strict, { uid: 'another' }));
      await settled();
      strictEqual(publisher.authorizations.size, 1);
      stop.abort();
      await feed.stopped();
    }
  });

  it('is no policy for a replica that starts while it is being deleted', async () => {
    start(mesh(strict, { deletionTimestamp: '2026-01-02T00:00:00Z' }));
    await started;
    strictEqual(publisher.authorizations.size, 0);
  });

  for (const path of neverEmpty) {
    it(`R16 is nothing at all while the API server says that ${path} is empty, which it never is`, async () => {
      start(mesh(strict), [path]);
      await settled();
      strictEqual(feed.ready, false);
      deepStrictEqual(feed.missing(), [path]);
    });
  }

  it('is not waited for by one that is told to stop', async () => {
    start();
    await settled();
    stop.abort();
    await rejects(started, /before there was a Mesh/);
  });
});
