import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { publicKeyOf } from '../../../src/ca/public-key.ts';
import { makeRootAuthority } from '../../../src/ca/root-authority.ts';
import { readRootCertificate } from '../../../src/ca/root-certificate.ts';
import { parseTrustDomain } from '../../../src/ca/spiffe-id.ts';
import { parseTrustBundle, trustBundle } from '../../../src/ca/trust-bundle.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { p256Key } from '../../fixtures/ca/certificate-requests.ts';

const ours = parseTrustDomain('cluster.local');
const theirs = parseTrustDomain('other.example');
const now = Date.parse('2026-01-15T12:00:00Z');
const rootPem = (trustDomain: typeof ours) => makeRootAuthority(trustDomain, 86_400, now, 'active').certificate;

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
