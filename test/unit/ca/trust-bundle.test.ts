import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { makeRootAuthority } from '../../../src/ca/authority/root-authority.ts';
import { parseTrustBundle, trustBundle } from '../../../src/ca/authority/trust-bundle.ts';
import { signCertificate } from '../../../src/ca/x509/certificate.ts';
import { rootProfile, workloadProfile } from '../../../src/ca/x509/certificate-profile.ts';
import { distinguishedName } from '../../../src/ca/x509/distinguished-name.ts';
import { publicKeyOf } from '../../../src/ca/x509/public-key.ts';
import { readRootCertificate } from '../../../src/ca/x509/root-certificate.ts';
import { parseTrustDomain, trustDomainSpiffeId } from '../../../src/ca/x509/spiffe-id.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { p256Key } from '../../fixtures/ca/certificate-requests.ts';

const ours = parseTrustDomain('cluster.local');
const theirs = parseTrustDomain('other.example');
const now = Date.parse('2026-01-15T12:00:00Z');
const rootPem = (trustDomain: typeof ours) =>
  makeRootAuthority(trustDomain, 86_400, now, 'active').trustAnchor.certificate;

describe('trust bundles', () => {
  it('reads back what it wrote, roots in order, with the SHA-256 of the exact text', () => {
    const pem = rootPem(ours) + rootPem(ours);
    const bundle = parseTrustBundle(ours, pem);
    assert.equal(bundle.roots.length, 2);
    assert.equal(bundle.pem, pem);
    assert.equal(bundle.sha256, createHash('sha256').update(pem).digest('hex'));
  });

  it('R05 never takes a root of another trust domain', () => {
    const foreign = readRootCertificate(rootPem(theirs), theirs, 'TrustBundleInvalid');
    assert.throws(() => trustBundle(ours, [foreign]), { code: 'TrustBundleInvalid', message: /other\.example/ });
    assert.throws(() => parseTrustBundle(ours, rootPem(ours) + rootPem(theirs)), { code: 'TrustBundleInvalid' });
  });

  it('refuses a self-signed certificate of the right name that is no CA, and a CA whose key is not its own', () => {
    const key = p256Key();
    const subject = distinguishedName('Tulle', 'root');
    const certificate = (profile: typeof rootProfile, signingKey: typeof key) =>
      signCertificate(
        {
          profile,
          subject,
          issuer: subject,
          alternativeNames: [{ type: 'uri', value: trustDomainSpiffeId(ours) }],
          publicKey: publicKeyOf(key),
          issuerPublicKey: publicKeyOf(key),
          validity: { notBefore: new Date(now), notAfter: new Date(now + 1e9) },
        },
        signingKey,
      ).pem;
    assert.equal(parseTrustBundle(ours, certificate(rootProfile, key)).roots.length, 1);
    assert.throws(() => parseTrustBundle(ours, certificate(workloadProfile, key)), { message: /not a CA/ });
    assert.throws(() => parseTrustBundle(ours, certificate(rootProfile, p256Key())), { message: /its own key/ });
  });

  it('refuses an empty bundle, a leaf, a truncated root and one that is too long', async () => {
    const authority = replica();
    await authority.reconcile();
    const leaf = authority.signServer(['a.example'], publicKeyOf(p256Key())).pem;
    const root = rootPem(ours);
    for (const pem of ['', 'x', leaf, root.replace(/\n.{64}\n/, '\n'), root.repeat(200)]) {
      assert.throws(() => parseTrustBundle(ours, pem), { code: 'TrustBundleInvalid' });
    }
  });
});
