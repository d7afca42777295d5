import assert from 'node:assert/strict';
import { until } from '../../hack/process.ts';
import { Reflector, type ReflectorEvent } from '../../src/kube/cache/reflector.ts';
import { ApiError, type KubeClient } from '../../src/kube/client/client.ts';
import { LeaderElection } from '../../src/kube/controller/lease.ts';
import type { ConfigMap, KubeObject, Lease } from '../../src/kube/objects.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { adminClient } from './operator-cluster.ts';

describe('talking to a real API server', () => {
  let api: ApiServer;
  let client: KubeClient;

  before(async () => {
    api = await startApiServer();
    client = adminClient(api);
  });

  after(async () => {
    await client?.close();
    await api?.stop();
  });

  describe('the reflector', () => {
    const path = '/api/v1/namespaces/default/configmaps';
    let stop: AbortController;
    let reflector: Reflector<ConfigMap>;
    let events: ReflectorEvent<ConfigMap>[];
    let heard: () => void;
    let lists: number;

    beforeEach(async () => {
      stop = new AbortController();
      events = [];
      lists = 0;
      heard = () => {};
      const query = { labelSelector: 'test=reflector' };
      reflector = new Reflector<ConfigMap>({ client, path, query, log: silentLog, pageSize: 20 });
      reflector.onEvent((event) => {
        events.push(event);
        heard();
      });
    });

    afterEach(async () => {
      stop.abort();
      await reflector.stopped();
      await api.kubectl('delete', 'configmaps', '-l', 'test=reflector');
    });

    /** Resolves when what was seen makes `holds` true; rejects after 30 s. */
    async function seen(holds: () => boolean): Promise<void> {
      const limit = AbortSignal.timeout(30_000);
      while (!holds()) {
        limit.throwIfAborted();
        await new Promise<void>((resolve) => {
          heard = resolve;
          limit.addEventListener('abort', () => resolve(), { once: true });
        });
      }
    }

    const make = (name: string, value = '1') =>
      client.create(path, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, labels: { test: 'reflector' } },
        data: { value },
      });

    it('takes over a list of several pages, and then each change', async () => {
      for (let i = 0; i < 50; i += 1) await make(`page-${i}`);
      reflector.start(stop.signal);
      await reflector.synced();
      assert.equal(reflector.store.size, 50);
      assert.equal(reflector.store.get('default/page-7')?.kind, 'ConfigMap');
      await client.patch(`${path}/page-7`, { data: { value: '2' } });
      await client.delete(`${path}/page-8`);
      await seen(() => events.length === 52);
      assert.deepEqual(
        events.slice(50).map(({ type, object }) => `${type} ${object.metadata.name}`),
        ['modified page-7', 'deleted page-8'],
      );
    });

    it('R16 goes on over a restart of the API server: nothing removed meanwhile, nothing missed afterwards', async () => {
      for (let i = 0; i < 30; i += 1) await make(`kept-${i}`);
      reflector.start(stop.signal);
      await reflector.synced();
      await api.pause();
      await assert.rejects(client.get(path), (error) => !(error instanceof ApiError));
      assert.equal(reflector.store.size, 30);
      await api.resume();
      await client.delete(`${path}/kept-3`);
      await make('new');
      await seen(() => events.length >= 32);
      assert.deepEqual(
        events
          .slice(30)
          .map(({ type, object }) => `${type} ${object.metadata.name}`)
          .sort(),
        ['added new', 'deleted kept-3'],
      );
    });

    it('lists anew when its version is too old for a watch, and reports only what changed', async () => {
      await make('a');
      await make('b');
      reflector = new Reflector<ConfigMap>({
        client: forgetful(client),
        path,
        query: { labelSelector: 'test=reflector' },
        log: silentLog,
      });
      reflector.onEvent((event) => {
        events.push(event);
        heard();
      });
      reflector.start(stop.signal);
      await reflector.synced();
      await seen(() => events.some(({ type }) => type === 'deleted'));
      assert.equal(lists, 2);
      assert.deepEqual(
        events.map(({ type, object }) => `${type} ${object.metadata.name}`),
        ['added a', 'added b', 'deleted a'],
      );
    });

    /** Its first watch asks from the beginning of time, after an object was deleted: the API server answers 410. */
    function forgetful(real: KubeClient): Pick<KubeClient, 'list' | 'watch'> {
      let first = true;
      return {
        list: <T extends KubeObject>(...[where, query]: Parameters<KubeClient['list']>) => {
          lists += 1;
          return real.list<T>(where, query);
        },
        watch: async function* <T extends KubeObject>(...[where, query, signal]: Parameters<KubeClient['watch']>) {
          if (first) await real.delete(`${path}/a`);
          const version = first ? '1' : query.resourceVersion;
          first = false;
          yield* real.watch<T>(where, { ...query, resourceVersion: version }, signal);
        },
      };
    }
  });

  it('of ten replicas that contend for a lease one leads; when it goes, one other does; never two', async () => {
    const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases/contended';
    const leading = new Set<string>();
    let most = 0;
    const replicas = Array.from({ length: 10 }, (_, index) => {
      const stop = new AbortController();
      const identity = `replica-${index}`;
      const times = { durationMs: 3_000, renewDeadlineMs: 2_000, retryMs: 200 };
      const election = new LeaderElection({
        client,
        namespace: 'default',
        name: 'contended',
        identity,
        log: silentLog,
        ...times,
      });
      const running = election.run(stop.signal, async (term) => {
        leading.add(identity);
        most = Math.max(most, leading.size);
        await new Promise<void>((resolve) => term.addEventListener('abort', () => resolve(), { once: true }));
        leading.delete(identity);
      });
      return { identity, stop, running };
    });
    // Whoever holds the Lease by the API server's word need not have heard of it yet: what leads is what runs.
    const leads = () => until('a replica leads', () => leading.size > 0, { limitMs: 20_000 });
    await leads();
    const [first] = leading;
    const leader = replicas.find(({ identity }) => identity === first);
    assert.ok(leader);
    leader.stop.abort();
    await leader.running;
    await leads();
    const [second] = leading;
    const { spec } = await client.get<Lease>(path);
    assert.notEqual(second, first);
    assert.deepEqual([spec?.holderIdentity, spec?.leaseTransitions], [second, 1]);
    for (const { stop } of replicas) stop.abort();
    await Promise.all(replicas.map(({ running }) => running));
    assert.equal(most, 1);
    assert.equal((await client.get<Lease>(path)).spec?.holderIdentity, '');
  });

  it('an object that somebody changed meanwhile is not overwritten', async () => {
    const path = '/api/v1/namespaces/default/configmaps';
    const made = await client.create<ConfigMap>(path, { metadata: { name: 'swapped' }, data: { a: '1' } });
    await client.patch(`${path}/swapped`, { data: { a: '2' } });
    await assert.rejects(
      client.replace(`${path}/swapped`, made),
      (error) => error instanceof ApiError && error.status === 409,
    );
    const stale = { preconditions: { uid: '00000000-0000-0000-0000-000000000000' } };
    await client.deleteIfThere(`${path}/swapped`, stale);
    assert.equal((await client.get<ConfigMap>(`${path}/swapped`)).data?.a, '2');
  });
});
