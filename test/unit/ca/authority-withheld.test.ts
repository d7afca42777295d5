import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import type { CertificateAuthority } from '../../../src/ca/authority/authority.ts';
import { publicKeyOf } from '../../../src/ca/x509/public-key.ts';
import { parseSpiffeId } from '../../../src/ca/x509/spiffe-id.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { p256Key } from '../../fixtures/ca/certificate-requests.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { bundleOf, encoded, reportOf, type StoredRoot, storedRoot } from '../../fixtures/ca/stored-authorities.ts';

const cart = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');

describe('a replica with a stale authority', () => {
  const a = storedRoot();
  const b = storedRoot('prepared');
  const active = (root: StoredRoot) => ({ ...root, state: 'active' as const });
  const retiring = (root: StoredRoot) => ({ ...root, state: 'retiring' as const });
  let cluster: MemoryCluster;
  let authority: CertificateAuthority;

  /** Another replica has stored this, published it, led and reported it. */
  function moveOn(...authorities: StoredRoot[]): void {
    cluster.edit(encoded(...authorities));
    cluster.published = bundleOf(...authorities);
    cluster.recorded = reportOf(...authorities);
  }

  /** The root a certificate that is signed now is of; undefined when nothing is signed. */
  function signer(): string | undefined {
    if (!authority.report().issuing) {
      assert.throws(() => authority.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityWithheld' });
      return undefined;
    }
    const leaf = new X509Certificate(authority.signWorkload(cart, publicKeyOf(p256Key()), 0).pem);
    return [a, b].find(({ certificate }) => leaf.verify(new X509Certificate(certificate).publicKey))?.id ?? 'unknown';
  }

  beforeEach(async () => {
    cluster = new MemoryCluster();
    authority = replica({ cluster });
    moveOn(a);
    await authority.reconcile();
  });

  it('R11 catches up by itself when it has missed a whole rotation', async () => {
    assert.equal(signer(), a.id);
    moveOn(active(b));
    assert.equal(await authority.reconcile(), true);
    assert.equal(signer(), b.id);
    assert.equal(authority.bundle()?.pem, b.certificate);
  });

  it('R11 signs with neither while the bundle of the one that signs now cannot be published, and reports it', async () => {
    const reports: boolean[] = [];
    authority = replica({ cluster, onReport: ({ issuing }) => reports.push(issuing) });
    await authority.reconcile();
    moveOn(a, b);
    await authority.reconcile();
    moveOn(retiring(a), active(b));
    cluster.published = undefined;
    cluster.before = (request) => {
      if (request === 'publish') throw new Error('forbidden');
    };
    assert.equal(await authority.reconcile(), false);
    assert.equal(signer(), undefined);
    assert.equal(reports.at(-1), false);
    cluster.before = () => {};
    assert.equal(await authority.reconcile(), true);
    assert.equal(signer(), b.id);
  });

  it('R11 signs on with a root that is still the one that signs while the bundle of the next cannot be published', async () => {
    moveOn(a, b);
    cluster.published = undefined;
    cluster.before = (request) => {
      if (request === 'publish') throw new Error('forbidden');
    };
    assert.equal(await authority.reconcile(), false);
    assert.equal(signer(), a.id);
  });

  it('R11 signs with neither when another authority is stored that the Mesh never reported', async () => {
    for (const reported of [reportOf(a), { reported: undefined, acknowledged: [] }]) {
      cluster.edit(encoded(active(b)));
      cluster.published = bundleOf(b);
      cluster.recorded = reported;
      assert.equal(await authority.reconcile(), false);
      assert.equal(authority.report().problem?.code, 'AuthoritySwapped');
      assert.equal(signer(), undefined);
    }
  });

  it('R11 does not go back with a backup from before a rotation, though the Mesh knew its root', async () => {
    moveOn(a, b);
    await authority.reconcile();
    moveOn(retiring(a), active(b));
    await authority.reconcile();
    assert.equal(signer(), b.id);
    cluster.edit(encoded(a, b));
    for (const reported of [reportOf(retiring(a), active(b)), reportOf(a, b)]) {
      cluster.recorded = reported;
      assert.equal(await authority.reconcile(), false);
      assert.equal(signer(), undefined);
    }
  });

  it('R11 does not serve a backup from before a rotation that it has missed itself', async () => {
    moveOn(a, b);
    moveOn(retiring(a), active(b));
    cluster.edit(encoded(a));
    assert.equal(await authority.reconcile(), false);
    assert.equal(authority.report().problem?.code, 'AuthoritySwapped');
    assert.match(authority.report().problem?.message ?? '', new RegExp(`${a.id}.*${b.id}`));
    assert.equal(signer(), undefined);
    assert.deepEqual(cluster.published, bundleOf(retiring(a), active(b)));
  });

  for (const unreadable of ['read bundle', 'read evidence']) {
    it(`R11 stops when the Secret is gone or another one, also while it cannot ${unreadable}`, async () => {
      for (const stored of [undefined, encoded(storedRoot()), encoded(a).slice(0, 200)]) {
        cluster = new MemoryCluster();
        authority = replica({ cluster });
        moveOn(a);
        await authority.reconcile();
        cluster.before = (request) => {
          if (request === unreadable) throw new Error('forbidden');
        };
        await authority.reconcile();
        assert.equal(signer(), a.id, 'the Secret is as it was');
        if (stored === undefined) cluster.secret = undefined;
        else cluster.edit(stored);
        assert.equal(await authority.reconcile(), false);
        assert.equal(signer(), undefined);
        assert.deepEqual([cluster.published, cluster.creations], [bundleOf(a), 0]);
      }
    });
  }

  it('R11 signs again with what was restored, also while the bundle cannot be published', async () => {
    const { secret } = cluster;
    cluster.secret = undefined;
    await authority.reconcile();
    assert.equal(signer(), undefined);
    cluster.secret = secret;
    cluster.published = undefined;
    cluster.before = (request) => {
      if (request === 'publish') throw new Error('forbidden');
    };
    await authority.reconcile();
    assert.equal(signer(), a.id);
    assert.equal(authority.report().problem?.code, 'TrustBundleNotPublished');
  });

  it('R08 a replica that is overtaken between its look and its write takes no root out of the bundle again', async () => {
    const late = replica({ cluster });
    cluster.published = undefined;
    let overtaken = false;
    cluster.before = (request) => {
      if (request !== 'publish' || overtaken) return;
      overtaken = true;
      moveOn(a, b);
    };
    assert.equal(await late.reconcile(), true);
    assert.ok(overtaken);
    assert.deepEqual(cluster.published, bundleOf(a, b));
    assert.equal(late.bundle()?.sha256, bundleOf(a, b).sha256, 'it has looked again');
  });

  it('R11 says so when somebody else changes the bundle again and again, and signs on with what is trusted', async () => {
    cluster.before = (request) => {
      if (request === 'publish') cluster.published = { pem: 'theirs', sha256: undefined };
    };
    cluster.published = undefined;
    assert.equal(await authority.reconcile(), false);
    assert.equal(authority.report().problem?.code, 'TrustBundleNotPublished');
    assert.equal(signer(), a.id);
  });

  it('R11 puts the bundle back over another one only where the Mesh says that it is the right one', async () => {
    cluster.secret = undefined;
    cluster.published = bundleOf(b);
    await authority.reconcile();
    assert.deepEqual(cluster.published, bundleOf(a));
    cluster.published = bundleOf(b);
    for (const recorded of [reportOf(a, b), { reported: undefined, acknowledged: [] }]) {
      cluster.recorded = recorded;
      await authority.reconcile();
      assert.deepEqual(cluster.published, bundleOf(b));
    }
  });

  it('R11 says why nothing is signed also when the bundle cannot be put back', async () => {
    cluster.secret = undefined;
    cluster.published = undefined;
    cluster.before = (request) => {
      if (request === 'publish') throw new Error('forbidden');
    };
    await authority.reconcile();
    assert.equal(authority.report().problem?.code, 'AuthorityLost');
  });

  it('R11 stays withheld while the API server is away', async () => {
    cluster.secret = undefined;
    await authority.reconcile();
    cluster.before = () => {
      throw new Error('connect ECONNREFUSED');
    };
    await authority.reconcile();
    assert.equal(authority.report().problem?.code, 'AuthorityLost', 'still the reason why nothing is signed');
    assert.throws(() => authority.signWorkload(cart, publicKeyOf(p256Key()), 0), {
      code: 'AuthorityWithheld',
      message: /tulle-ca is gone/,
    });
  });

  it('R11 whatever happens to the cluster, signs only with the key that the Secret had active at its last look', async () => {
    const happenings: Record<string, () => void> = {
      'rotation begins': () => moveOn(a, b),
      'the new root signs': () => moveOn(retiring(a), active(b)),
      'rotation ends': () => moveOn(active(b)),
      'an old backup': () => cluster.edit(encoded(a)),
      'another authority': () => cluster.edit(encoded(storedRoot())),
      'the Secret goes': () => {
        cluster.secret = undefined;
      },
      'the Secret is cut': () => cluster.edit(encoded(a).slice(0, 200)),
      'the bundle goes': () => {
        cluster.published = undefined;
      },
      'the Mesh is made anew': () => {
        cluster.recorded = { reported: undefined, acknowledged: [] };
      },
    };
    const story = fc.array(fc.constantFrom(...Object.keys(happenings)), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(story, async (steps) => {
        cluster = new MemoryCluster();
        authority = replica({ cluster });
        moveOn(a);
        await authority.reconcile();
        for (const step of steps) {
          happenings[step]?.();
          await authority.reconcile();
          const key = signer();
          if (key !== undefined) assert.equal(activeIn(cluster.secret?.state), key);
        }
        assert.equal(cluster.creations, 0, 'no new authority');
      }),
      { numRuns: 200 },
    );
  });
});

/** The id of the active signer of a stored text. */
function activeIn(state: string | undefined): string | undefined {
  const { signers }: { signers: { id: string; state: string }[] } = JSON.parse(state ?? '{"signers":[]}');
  return signers.find((signer) => signer.state === 'active')?.id;
}
