import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import fc from 'fast-check';
import {
  encodeAuthorityState,
  isSuccessor,
  parseAuthorityState,
  type StoredAuthority,
} from '../../../src/ca/authority-state.ts';
import { signCertificate } from '../../../src/ca/certificate.ts';
import { rootProfile } from '../../../src/ca/certificate-profile.ts';
import { makeRootAuthority } from '../../../src/ca/root-authority.ts';
import { readRootCertificate } from '../../../src/ca/root-certificate.ts';
import { parseTrustDomain, trustDomainSpiffeId } from '../../../src/ca/spiffe-id.ts';
import { isTulleError } from '../../../src/errors/tulle-error.ts';

const trustDomain = parseTrustDomain('cluster.local');
const now = Date.parse('2026-01-15T12:00:00Z');
const make = (state: 'active' | 'prepared' = 'active') => makeRootAuthority(trustDomain, 86_400, now, state);
const parse = (...authorities: StoredAuthority[]) =>
  parseAuthorityState(encodeAuthorityState(trustDomain, authorities), trustDomain);

describe('the stored authority', () => {
  const a = make();
  const b = make('prepared');
  const text = encodeAuthorityState(trustDomain, [a]);

  it('is read back with its one active authority, all of it in the bundle', () => {
    const state = parse(a, b);
    assert.equal(state.active.root.id, a.id);
    assert.deepEqual(
      state.bundle.roots.map((root) => root.id),
      [a.id, b.id],
    );
  });

  it('may have dropped the private key of a retiring authority, and of no other', () => {
    const { privateKey: _, ...withoutKey } = a;
    assert.equal(parse({ ...withoutKey, state: 'retiring' }, { ...b, state: 'active' }).active.root.id, b.id);
    assert.throws(() => parse(withoutKey), { code: 'AuthorityStateInvalid', message: /no private key/ });
  });

  for (const [what, broken] of [
    ['no authority', []],
    ['none active', [{ ...a, state: 'retiring' }]],
    ['two active', [a, { ...b, state: 'active' }]],
    ['one twice', [a, { ...a, state: 'prepared' }]],
    ["another one's key", [{ ...a, privateKey: b.privateKey }]],
    ["another one's certificate", [{ ...a, certificate: b.certificate }]],
    ["another one's id", [{ ...a, id: b.id }]],
    ['a certificate cut short', [{ ...a, certificate: a.certificate.slice(0, -60) }]],
    ['a key cut short', [{ ...a, privateKey: a.privateKey?.slice(0, -60) }]],
    ['two certificates in one place', [{ ...a, certificate: a.certificate + b.certificate }]],
    ['an unknown state', [{ ...a, state: 'gone' }]],
    ['an unknown field', [{ ...a, extra: 1 }]],
  ] as const) {
    it(`R15 is refused with ${what}`, () => {
      const edited = JSON.stringify({ format: 1, trustDomain, authorities: broken });
      assert.throws(() => parseAuthorityState(edited, trustDomain), { code: 'AuthorityStateInvalid' });
    });
  }

  it('R15 is refused when it is of another trust domain, in its text or in its certificates', () => {
    const other = parseTrustDomain('other.example');
    const foreign = makeRootAuthority(other, 86_400, now, 'active');
    for (const edited of [
      encodeAuthorityState(other, [foreign]),
      encodeAuthorityState(trustDomain, [foreign]),
      encodeAuthorityState(other, [a]),
    ]) {
      assert.throws(() => parseAuthorityState(edited, trustDomain), { code: 'AuthorityStateInvalid' });
    }
  });

  it('R15 is refused truncated at any byte, and no error shows any of its key', () => {
    const secret = (a.privateKey ?? '').split('\n').slice(1, -2).join('');
    for (let length = 0; length < text.length; length += 7) {
      assert.throws(
        () => parseAuthorityState(text.slice(0, length), trustDomain),
        (error: unknown) => isTulleError(error, 'AuthorityStateInvalid') && !shows(error, secret),
      );
    }
  });

  it('R15 is refused or means the same, whatever bytes are changed (fuzz)', () => {
    const secret = (a.privateKey ?? '').split('\n').slice(1, -2).join('');
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(6), fc.string({ maxLength: 6 }), (at, remove, insert) => {
        const edited = text.slice(0, at) + insert + text.slice(at + remove);
        try {
          assert.equal(parseAuthorityState(edited, trustDomain).bundle.pem, a.certificate);
        } catch (error) {
          if (!isTulleError(error, 'AuthorityStateInvalid')) throw error;
          assert.ok(!shows(error, secret));
        }
      }),
      { numRuns: 1500 },
    );
  });

  describe('its moves', () => {
    const active = parse(a);
    const prepared = parse(a, b);
    const switched = parse({ ...a, state: 'retiring' }, { ...b, state: 'active' });
    const gone = parse({ ...b, state: 'active' });

    it('may go on along the state machine, in one look or several', () => {
      for (const [before, after] of [
        [active, active],
        [active, prepared],
        [prepared, switched],
        [active, switched],
        [switched, gone],
        [prepared, active],
      ] as const) {
        assert.ok(isSuccessor(before, after));
      }
    });

    it('R15 may not go back, nor lose or replace the one that signed', () => {
      for (const [before, after] of [
        [switched, prepared],
        [active, gone],
        [prepared, gone],
        [switched, active],
        [active, parse(make())],
        [active, parse({ ...a, certificate: renewed(a) })],
      ] as const) {
        assert.ok(!isSuccessor(before, after));
      }
    });
  });
});

/** Another root certificate for the same key. */
function renewed(authority: StoredAuthority): string {
  const key = createPrivateKey(authority.privateKey ?? '');
  const { subject, publicKey } = readRootCertificate(authority.certificate, trustDomain, 'AuthorityStateInvalid');
  const content = {
    profile: rootProfile,
    subject,
    issuer: subject,
    alternativeNames: [{ type: 'uri', value: trustDomainSpiffeId(trustDomain) } as const],
    publicKey,
    issuerPublicKey: publicKey,
    validity: { notBefore: new Date(now), notAfter: new Date(now + 1e12) },
  };
  return signCertificate(content, key).pem;
}

/** Whether an error, or what it was caused by, shows eight characters in a row of a secret. */
function shows(error: unknown, secret: string): boolean {
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    const text = `${each.message}${each.stack}`;
    for (let at = 0; at + 8 <= secret.length; at++) if (text.includes(secret.slice(at, at + 8))) return true;
  }
  return false;
}
