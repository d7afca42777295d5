import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { leafValidity, skewAllowanceMs } from '../../../src/ca/x509/certificate-profile.ts';
import { publicKeyOf } from '../../../src/ca/x509/public-key.ts';
import { parseSpiffeId } from '../../../src/ca/x509/spiffe-id.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { p256Key } from '../../fixtures/ca/certificate-requests.ts';
import { intermediateOf } from '../../fixtures/ca/intermediates.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { opensslText, opensslVerify } from '../../fixtures/ca/openssl.ts';
import { encoded, storedRoot } from '../../fixtures/ca/stored-authorities.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

const cart = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');

describe('R03 the profile of certificates', () => {
  const clock = new FakeClock();
  const authority = replica({ clock });
  const now = clock.now();

  before(async () => {
    await authority.reconcile();
  });

  it('R03 a workload certificate is an X509-SVID as openssl reads it, and nothing more', () => {
    const { chain } = authority.signWorkload(cart, publicKeyOf(p256Key()), 0);
    const extensions = opensslText(chain[0] ?? '').split('X509v3 extensions:')[1] ?? '';
    const lines = extensions
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
    const identifiers = lines.filter((line) => /^([0-9A-F]{2}:){19}[0-9A-F]{2}$/.test(line));
    assert.equal(identifiers.length, 2, 'subject and authority key identifier');
    assert.deepEqual(
      lines.filter((line) => !identifiers.includes(line)),
      [
        'X509v3 Basic Constraints: critical',
        'CA:FALSE',
        'X509v3 Key Usage: critical',
        'Digital Signature',
        'X509v3 Extended Key Usage:',
        'TLS Web Server Authentication, TLS Web Client Authentication',
        'X509v3 Subject Key Identifier:',
        'X509v3 Authority Key Identifier:',
        'X509v3 Subject Alternative Name: critical',
        `URI:${cart}`,
      ],
    );
    assert.match(opensslText(chain[0] ?? ''), /Subject: *\n/, 'the subject is empty');
  });

  it('R03 a chain has the leaf and last the root, and verifies strictly as client and as server', () => {
    const { chain } = authority.signWorkload(cart, publicKeyOf(p256Key()), 0);
    const [leaf = '', root = ''] = chain;
    assert.equal(chain.length, 2);
    assert.match(opensslVerify(leaf, root, 'sslserver', now), /OK$/);
    assert.match(opensslVerify(leaf, root, 'sslclient', now), /OK$/);
    assert.match(opensslVerify(leaf, root, 'sslclient', now + 2 * 86_400_000), /expired/);
  });

  it('R03 with an intermediate, a chain leads over it to the root, verifies strictly, and ends before it does', async () => {
    const root = storedRoot();
    const cluster = new MemoryCluster();
    cluster.edit(encoded({ ...root, signers: [intermediateOf(root, { days: 1 })] }));
    const under = replica({ cluster, clock });
    assert.equal(await under.reconcile(), true);
    const { chain, shown, validity } = under.signWorkload(cart, publicKeyOf(p256Key()), 0);
    const [leaf = '', intermediate = '', roots = ''] = chain;
    assert.equal(chain.length, 3);
    assert.equal(shown, leaf + intermediate);
    assert.equal(roots, root.certificate);
    assert.match(opensslVerify(leaf, roots, 'sslclient', now, intermediate), /OK$/);
    assert.match(opensslVerify(leaf, roots, 'sslserver', now, intermediate), /OK$/);
    assert.doesNotMatch(opensslVerify(leaf, roots, 'sslserver', now), /OK$/);
    assert.deepEqual(validity.notAfter, new X509Certificate(intermediate).validToDate);
  });

  it("R03 the root signs leaves and one intermediate, and names its trust domain; the server's certificate names no workload", () => {
    const text = opensslText(authority.bundle()?.pem ?? '');
    assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:1\s/);
    assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign\s/);
    assert.match(text, /Subject Alternative Name: \s*URI:spiffe:\/\/cluster\.local\s/);
    const server = authority.signServer(['tulle-control.tulle-system.svc'], publicKeyOf(p256Key()));
    assert.match(
      opensslText(server.pem),
      /Subject Alternative Name: critical\s+DNS:tulle-control\.tulle-system\.svc\s/,
    );
    assert.match(opensslVerify(server.pem, authority.bundle()?.pem ?? '', 'sslserver', now), /OK$/);
    assert.doesNotMatch(opensslVerify(server.pem, authority.bundle()?.pem ?? '', 'sslclient', now), /OK$/);
  });

  it('R03 serials are 128 random bits, positive, and never twice', () => {
    const publicKey = publicKeyOf(p256Key());
    const certificates = Array.from({ length: 400 }, () => authority.signWorkload(cart, publicKey, 0));
    for (const { pem, serial } of certificates) {
      assert.equal(new X509Certificate(pem).serialNumber.toLowerCase(), serial, 'not negative, and logged as it is');
    }
    const serials = certificates.map(({ serial }) => BigInt(`0x${serial}`));
    assert.equal(new Set(serials).size, serials.length);
    for (const serial of serials) assert.ok(serial > 0n && serial < 1n << 128n);
    // Every one of the bits is sometimes set: the odds of this failing by chance are 128 in 2^400.
    for (let bit = 0n; bit < 128n; bit++)
      assert.ok(
        serials.some((serial) => (serial >> bit) & 1n),
        `bit ${bit}`,
      );
  });

  it('R03 does not sign for another trust domain', () => {
    const foreign = parseSpiffeId('spiffe://other.example/ns/shop/sa/cart');
    const code = 'CertificateProfileInvalid';
    assert.throws(() => authority.signWorkload(foreign, publicKeyOf(p256Key()), 0), { code });
  });

  for (const [asked, seconds] of [
    [0, 86_400],
    [600, 600],
    [1, 1],
    [86_401, 86_400],
    [Number.MAX_SAFE_INTEGER, 86_400],
    [2 ** 63, 86_400],
  ] as const) {
    it(`R03 asked for ${asked} s gives ${seconds} s from now, dated back by the skew allowance and no more`, () => {
      const certificate = new X509Certificate(authority.signWorkload(cart, publicKeyOf(p256Key()), asked).pem);
      assert.equal(certificate.validToDate.getTime(), now + seconds * 1000);
      assert.equal(certificate.validFromDate.getTime(), now - skewAllowanceMs);
    });
  }

  it('R03 near the end of the root, a leaf ends with it; after it, nothing is signed', async () => {
    const late = new FakeClock(now);
    const short = replica({ clock: late, rootTtlSeconds: () => 200_000 });
    await short.reconcile();
    const end = now + 200_000_000;
    await late.advance(end - 5_000 - late.now());
    const leaf = new X509Certificate(short.signWorkload(cart, publicKeyOf(p256Key()), 0).pem);
    assert.equal(leaf.validToDate.getTime(), end);
    await late.advance(5_000);
    assert.throws(() => short.signWorkload(cart, publicKeyOf(p256Key()), 0), { code: 'AuthorityExpired' });
    await short.reconcile();
    assert.deepEqual([short.report().issuing, short.report().problem?.code], [false, 'AuthorityExpired']);
    assert.ok(short.bundle(), 'what is trusted stays published');
  });

  it('R03 a validity is inside the signer’s, ends after now, and begins no earlier than the allowance (property)', () => {
    const time = fc.integer({ min: 0, max: 4_000_000_000_000 });
    fc.assert(
      fc.property(time, time, time, fc.nat(), fc.integer({ min: 1, max: 2_592_000 }), (at, from, life, asked, most) => {
        const signer = { notBefore: new Date(from), notAfter: new Date(from + life) };
        const validity = leafValidity(at, asked, most, signer);
        if (validity === undefined) return assert.ok(at < from || at >= from + life);
        const { notBefore, notAfter } = validity;
        assert.ok(notBefore >= signer.notBefore && notAfter <= signer.notAfter);
        assert.ok(notBefore.getTime() >= at - skewAllowanceMs && notBefore.getTime() <= at);
        assert.ok(notAfter.getTime() > at && notAfter.getTime() <= at + most * 1000);
      }),
      { numRuns: 2000 },
    );
  });

  it('R12 a certificate from a machine whose clock is 30 s ahead is valid at once on one that is 30 s behind', () => {
    const leaf = new X509Certificate(authority.signWorkload(cart, publicKeyOf(p256Key()), 0).pem);
    assert.ok(leaf.validFromDate.getTime() <= now - 60_000);
  });
});
