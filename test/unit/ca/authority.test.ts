import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { AuthorityReport } from '../../../src/ca/authority/authority.ts';
import { bundleSha256 } from '../../../src/ca/authority/trust-bundle.ts';
import { publicKeyOf } from '../../../src/ca/x509/public-key.ts';
import { parseSpiffeId } from '../../../src/ca/x509/spiffe-id.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { p256Key } from '../../fixtures/ca/certificate-requests.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';
import { encoded, storedRoot } from '../../fixtures/ca/stored-authorities.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

const cart = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');

describe('the authority of a replica', () => {
  let cluster: MemoryCluster;

  beforeEach(() => {
    cluster = new MemoryCluster();
  });

  it('makes the first root, stores it, publishes the bundle, and then signs', async () => {
    const authority = replica({ cluster });
    assert.throws(() => authority.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityNotLoaded' });
    assert.equal(await authority.reconcile(), true);
    await authority.ready();
    const { pem } = authority.signWorkload(cart, publicKeyOf(p256Key()), 0);
    const root = new X509Certificate(cluster.published?.pem ?? '');
    assert.ok(new X509Certificate(pem).verify(root.publicKey));
    assert.equal(cluster.published?.sha256, bundleSha256(cluster.published?.pem ?? ''));
  });

  it('R09 ten replicas that start together serve one root, which one of them made', async () => {
    const replicas = Array.from({ length: 10 }, () => replica({ cluster }));
    assert.deepEqual(await Promise.all(replicas.map((each) => each.reconcile())), new Array(10).fill(true));
    assert.equal(cluster.creations, 1);
    assert.equal(new Set(replicas.map((each) => each.bundle()?.sha256)).size, 1);
  });

  it('writes nothing on a pass that finds nothing to do', async () => {
    const authority = replica({ cluster });
    await authority.reconcile();
    const writes: string[] = [];
    cluster.before = (request) => {
      if (!request.startsWith('read')) writes.push(request);
    };
    await authority.reconcile();
    assert.deepEqual(writes, []);
  });

  for (const step of ['read bundle', 'read secret', 'create', 'publish'] as const) {
    it(`R10 a replica that dies at "${step}" signed nothing, and the next one finishes the work`, async () => {
      const first = replica({ cluster });
      cluster.before = (request) => {
        if (request === step) throw new Error('the process died');
      };
      assert.equal(await first.reconcile(), false);
      assert.throws(() => first.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityNotLoaded' });
      cluster.before = () => {};
      const second = replica({ cluster });
      assert.equal(await second.reconcile(), true);
      assert.equal(cluster.creations, 1);
      assert.equal(cluster.published?.sha256, second.bundle()?.sha256);
    });
  }

  it('R10 a root whose storing was not confirmed is not used until it is read back', async () => {
    const authority = replica({ cluster });
    cluster.before = (request) => {
      if (request === 'create') {
        cluster.edit(encoded(storedRoot()));
        throw new Error('connection reset after the write');
      }
    };
    assert.equal(await authority.reconcile(), false);
    assert.equal(authority.report().issuing, false);
    assert.equal(await authority.reconcile(), true);
  });

  describe('R15 when the Secret is', () => {
    const other = encoded(storedRoot());
    const damages: readonly (readonly [string, string, (cluster: MemoryCluster) => void])[] = [
      ['truncated', 'AuthorityStateInvalid', (each) => each.edit(each.secret?.state.slice(0, 300) ?? '')],
      ['emptied', 'AuthorityStateInvalid', (each) => each.edit('')],
      [
        'edited',
        'AuthorityStateInvalid',
        (each) => each.edit(each.secret?.state.replace('"active"', '"prepared"') ?? ''),
      ],
      [
        'of another format',
        'AuthorityFormatUnknown',
        (each) => each.edit(each.secret?.state.replace('"format":2', '"format":3') ?? ''),
      ],
      ['swapped', 'AuthoritySwapped', (each) => each.edit(other)],
      [
        'deleted',
        'AuthorityLost',
        (each) => {
          each.secret = undefined;
        },
      ],
    ];
    for (const [what, code, damage] of damages) {
      it(`R11 ${what}: a running replica signs nothing, says so once, keeps the bundle, and goes on with the restored one`, async () => {
        const reports: AuthorityReport[] = [];
        const log = new RecordingLog();
        const authority = replica({ cluster, log, onReport: (report) => reports.push(report) });
        await authority.reconcile();
        const { secret, published } = cluster;
        damage(cluster);
        cluster.published = undefined;
        for (let pass = 0; pass < 3; pass++) assert.equal(await authority.reconcile(), false);
        assert.deepEqual(
          reports.map((report) => [report.issuing, report.problem?.code]),
          [
            [true, undefined],
            [false, code],
          ],
        );
        assert.equal(log.lines.filter((line) => line.level === 'error').length, 1);
        assert.throws(() => authority.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityWithheld' });
        assert.throws(() => authority.signServer(['control'], publicKeyOf(p256Key())), { code: 'AuthorityWithheld' });
        assert.equal(authority.bundle()?.pem, published?.pem);
        assert.deepEqual(cluster.published, published, 'the bundle is put back');
        assert.equal(cluster.creations, 1, 'no new authority');
        cluster.secret = secret;
        assert.equal(await authority.reconcile(), true);
        assert.equal(authority.report().problem, undefined);
        assert.ok(authority.signWorkload(cart, publicKeyOf(p256Key()), 0));
      });

      it(`${what}: a replica that starts signs nothing, and makes no new authority`, async () => {
        await replica({ cluster }).reconcile();
        const { published } = cluster;
        damage(cluster);
        const late = replica({ cluster });
        assert.equal(await late.reconcile(), false);
        assert.equal(late.report().problem?.code, code);
        assert.throws(() => late.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityNotLoaded' });
        assert.equal(cluster.creations, 1);
        assert.deepEqual(cluster.published, published, 'the bundle is left alone');
      });
    }

    it('deleted together with the bundle: a running replica still makes no new authority', async () => {
      const authority = replica({ cluster });
      await authority.reconcile();
      cluster.secret = undefined;
      cluster.published = undefined;
      assert.equal(await authority.reconcile(), false);
      assert.equal(authority.report().problem?.code, 'AuthorityLost');
      assert.equal(cluster.creations, 1);
    });

    it('there and the bundle is gone or was edited: the bundle is written again', async () => {
      const authority = replica({ cluster });
      await authority.reconcile();
      const { published } = cluster;
      const mislabelled = { pem: published?.pem ?? '', sha256: 'of something else' };
      for (const damaged of [mislabelled, undefined, { pem: '', sha256: undefined }, { pem: 'x', sha256: 'y' }]) {
        cluster.published = damaged;
        await authority.reconcile();
        assert.deepEqual(cluster.published, published);
        cluster.published = damaged;
        assert.equal(await replica({ cluster }).reconcile(), true, 'a replica that starts does the same');
        assert.deepEqual(cluster.published, published);
      }
    });
  });

  it('goes on serving while the API server is away, and no key is ever in a log line', async () => {
    const log = new RecordingLog();
    const authority = replica({ cluster, log });
    await authority.reconcile();
    cluster.before = () => {
      throw new Error('connect ECONNREFUSED');
    };
    assert.equal(await authority.reconcile(), false);
    assert.equal(authority.report().problem?.code, 'KubernetesUnreachable');
    assert.ok(authority.signWorkload(cart, publicKeyOf(p256Key()), 0));
    assert.ok(!log.text().includes('PRIVATE KEY'));
  });

  it('looks again at once when it is woken, also by a change during a look', async () => {
    const stop = new AbortController();
    let wake = () => {};
    const endedAtOnce: boolean[] = [];
    class NappingClock extends FakeClock {
      override sleep(_ms?: number, signal?: AbortSignal): Promise<void> {
        endedAtOnce.push(signal?.aborted === true);
        if (endedAtOnce.length === 2) stop.abort();
        return Promise.resolve();
      }
    }
    cluster.before = (request) => {
      if (request === 'publish') wake();
    };
    const subscribe = (call: () => void) => {
      wake = call;
    };
    await replica({ cluster, clock: new NappingClock(), subscribe }).run(stop.signal);
    assert.deepEqual(endedAtOnce, [true, false], 'the change while publishing is not slept over');
  });
});
