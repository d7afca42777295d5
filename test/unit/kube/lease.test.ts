import assert from 'node:assert/strict';
import { ApiError } from '../../../src/kube/client/client.ts';
import { LeaderElection } from '../../../src/kube/controller/lease.ts';
import type { Lease } from '../../../src/kube/objects.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

/** One Lease, with the API server's compare-and-swap; it can be cut off, or hang. */
class LeaseServer {
  lease: Lease | undefined;
  writes = 0;
  reach: 'up' | 'down' | 'hangs' = 'up';
  /** Writes are carried out only after it. */
  delay: Promise<void> | undefined;
  #version = 0;

  get = async <T>(): Promise<T> => {
    await this.#reached();
    if (this.lease === undefined) throw refusal(404, 'NotFound');
    return JSON.parse(JSON.stringify(this.lease));
  };

  create = async <T>(_path: string, object: unknown): Promise<T> => {
    await this.#reached();
    await this.delay;
    if (this.lease !== undefined) throw refusal(409, 'AlreadyExists');
    return this.#store(object);
  };

  replace = async <T>(_path: string, object: unknown): Promise<T> => {
    await this.#reached();
    await this.delay;
    const sent: Lease = JSON.parse(JSON.stringify(object));
    if (sent.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) throw refusal(409, 'Conflict');
    return this.#store(sent);
  };

  #store<T>(object: unknown): T {
    this.writes += 1;
    this.#version += 1;
    const stored: Lease = JSON.parse(JSON.stringify(object));
    stored.metadata.resourceVersion = String(this.#version);
    this.lease = stored;
    return JSON.parse(JSON.stringify(stored));
  }

  async #reached(): Promise<void> {
    if (this.reach === 'down') throw new Error('connection refused');
    if (this.reach === 'hangs') await new Promise(() => {});
  }
}

function refusal(status: number, reason: string): ApiError {
  return new ApiError({ status, reason, message: reason, path: 'leases' });
}

describe('leader election', () => {
  let server: LeaseServer;
  let clock: FakeClock;
  let stop: AbortController;
  let leaders: Set<string>;
  let mostAtOnce: number;
  let terms: string[];
  let running: Promise<void>[];

  /** Starts a candidate; each has its own signal too, to end it alone. */
  function candidate(
    identity: string,
    own = new AbortController(),
  ): { election: LeaderElection; own: AbortController } {
    const random = () => 0.5;
    const names = { namespace: 'tulle-system', name: 'tulle-operator', identity };
    const election = new LeaderElection({ ...names, client: server, log: silentLog, clock, random });
    const signal = AbortSignal.any([stop.signal, own.signal]);
    running.push(
      election.run(signal, async (term) => {
        leaders.add(identity);
        terms.push(identity);
        mostAtOnce = Math.max(mostAtOnce, leaders.size);
        await new Promise<void>((resolve) => term.addEventListener('abort', () => resolve(), { once: true }));
        leaders.delete(identity);
      }),
    );
    return { election, own };
  }

  beforeEach(() => {
    server = new LeaseServer();
    clock = new FakeClock();
    stop = new AbortController();
    leaders = new Set();
    mostAtOnce = 0;
    terms = [];
    running = [];
  });

  afterEach(async () => {
    stop.abort();
    server.reach = 'up';
    await clock.advance(5_000);
    await Promise.all(running);
    assert.equal(clock.sleeping, 0, 'a timer was left behind');
  });

  it('of ten candidates one leads, and goes on leading', async () => {
    for (let i = 0; i < 10; i += 1) candidate(`replica-${i}`);
    await clock.advance(300_000);
    assert.equal(leaders.size, 1);
    assert.equal(mostAtOnce, 1);
    assert.equal(terms.length, 1);
  });

  it('given the leader ends in order, then another leads at the next attempt, without waiting for the lease to run out', async () => {
    const first = candidate('first');
    await clock.advance(1);
    candidate('second');
    await clock.advance(10_000);
    first.own.abort();
    await clock.advance(3_000);
    assert.deepEqual(terms, ['first', 'second']);
    assert.equal(server.lease?.spec?.leaseTransitions, 1);
    assert.equal(mostAtOnce, 1);
  });

  it('given the leader vanishes, then another leads after the lease has run out, and not before', async () => {
    server.lease = {
      metadata: { name: 'tulle-operator', resourceVersion: '0' },
      spec: { holderIdentity: 'vanished', leaseDurationSeconds: 15, renewTime: '2001-01-01T00:00:00.000000Z' },
    };
    candidate('second');
    await clock.advance(14_900);
    assert.equal(leaders.size, 0, 'it believed a time written by another clock');
    await clock.advance(5_000);
    assert.deepEqual([...leaders], ['second']);
  });

  it('tells one that does not contend whether anybody leads, by its own clock, and takes nothing', async () => {
    const names = { namespace: 'tulle-system', name: 'tulle-operator', identity: 'onlooker' };
    const onlooker = new LeaderElection({ ...names, client: server, log: silentLog, clock });
    assert.equal(await onlooker.vacant(), true, 'there is no Lease yet');
    const first = candidate('first');
    await clock.advance(5_000);
    assert.equal(await onlooker.vacant(), false);
    server.reach = 'down';
    await clock.advance(20_000);
    server.reach = 'up';
    assert.equal(server.lease?.spec?.holderIdentity, 'first', 'it could not be given up');
    assert.equal(await onlooker.vacant(), true);
    first.own.abort();
    await clock.advance(5_000);
    const { writes } = server;
    assert.equal(await onlooker.vacant(), true);
    assert.equal(server.writes, writes);
  });

  for (const reach of ['down', 'hangs'] as const) {
    it(`given the API server ${reach === 'down' ? 'refuses' : 'hangs'}, then the leader stops before anybody else can start`, async () => {
      const { election } = candidate('first');
      await clock.advance(5_000);
      assert.equal(election.leading, true);
      server.reach = reach;
      await clock.advance(9_000);
      assert.equal(election.leading, true, 'a short outage is no reason to stop');
      await clock.advance(6_000);
      assert.equal(election.leading, false);
      assert.equal(leaders.size, 0);
    });
  }

  it('given it acquired the lease by a slow call, then it counts the lease from the start of that call', async () => {
    const slow = Promise.withResolvers<void>();
    server.delay = slow.promise;
    const { election } = candidate('first');
    await clock.advance(8_000);
    slow.resolve();
    await clock.advance(1);
    assert.equal(election.leading, true);
    server.reach = 'down';
    await clock.advance(5_000);
    assert.equal(election.leading, false);
  });

  it('given leading fails while a renewal is under way, then it gives the lease up after that', async () => {
    const names = { namespace: 'tulle-system', name: 'tulle-operator', identity: 'first' };
    const election = new LeaderElection({ ...names, client: server, log: silentLog, clock, random: () => 0.5 });
    const slow = Promise.withResolvers<void>();
    const bug = Promise.withResolvers<void>();
    running.push(election.run(stop.signal, () => bug.promise));
    await clock.advance(1);
    server.delay = slow.promise;
    await clock.advance(2_300);
    bug.reject(new Error('a bug'));
    await clock.advance(1);
    const { writes } = server;
    slow.resolve();
    await clock.advance(0);
    await clock.advance(0);
    assert.equal(server.writes, writes + 2);
    assert.equal(server.lease?.spec?.leaseDurationSeconds, 15);
    assert.equal(server.lease?.spec?.holderIdentity, '');
  });

  it('given it is stopped while a renewal is under way, then it waits for it and gives the lease up', async () => {
    const { own } = candidate('first');
    await clock.advance(1);
    const slow = Promise.withResolvers<void>();
    server.delay = slow.promise;
    await clock.advance(2_300);
    own.abort();
    await clock.advance(100);
    assert.equal(server.lease?.spec?.holderIdentity, 'first');
    server.delay = undefined;
    slow.resolve();
    await clock.advance(100);
    assert.equal(server.lease?.spec?.holderIdentity, '');
  });

  it('given it is stopped while an attempt to acquire is under way that wins, then it gives the lease up', async () => {
    const slow = Promise.withResolvers<void>();
    server.delay = slow.promise;
    const { own } = candidate('first');
    await clock.advance(1);
    own.abort();
    slow.resolve();
    await clock.advance(100);
    assert.equal(server.lease?.spec?.holderIdentity, '');
    assert.deepEqual(terms, []);
  });

  it('given another holds the lease against all rules, then the leader stops at once', async () => {
    const { election } = candidate('first');
    await clock.advance(5_000);
    const { lease } = server;
    await server.replace('', { ...lease, spec: { ...lease?.spec, holderIdentity: 'thief' } });
    await clock.advance(3_000);
    assert.equal(election.leading, false);
  });

  it('given leading fails, then the lease is given up and contended for again', async () => {
    const names = { namespace: 'tulle-system', name: 'tulle-operator', identity: 'first' };
    const election = new LeaderElection({ ...names, client: server, log: silentLog, clock, random: () => 0.5 });
    let attempts = 0;
    running.push(
      election.run(stop.signal, async () => {
        attempts += 1;
        if (attempts === 1) throw new Error('a bug');
        stop.abort();
      }),
    );
    await clock.advance(5_000);
    assert.equal(attempts, 2);
    assert.equal(server.lease?.spec?.holderIdentity, '');
  });

  it('refuses a renew deadline that is not shorter than the duration', () => {
    const names = { namespace: 'a', name: 'b', identity: 'c', client: server, log: silentLog };
    assert.throws(() => new LeaderElection({ ...names, durationMs: 10_000, renewDeadlineMs: 10_000 }), /less than/);
  });
});
