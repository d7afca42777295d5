import assert from 'node:assert/strict';
import fc from 'fast-check';
import { encodeAuthority, parseAuthority } from '../../../src/ca/authority/stored-authority.ts';
import { parseTrustDomain } from '../../../src/ca/x509/spiffe-id.ts';
import { isTulleError } from '../../../src/errors/tulle-error.ts';
import { intermediateOf } from '../../fixtures/ca/intermediates.ts';
import { encoded, type StoredRoot, storedRoot } from '../../fixtures/ca/stored-authorities.ts';

const trustDomain = parseTrustDomain('cluster.local');
const parse = (...roots: StoredRoot[]) => parseAuthority(encoded(...roots), trustDomain);
const invalid = { code: 'AuthorityStateInvalid' };

describe('the stored authority', () => {
  const a = storedRoot();
  const b = storedRoot('prepared');
  const text = encoded(a);
  const keyOf = ({ signers }: StoredRoot) => signers[0]?.privateKey ?? '';
  const withSigner = (root: StoredRoot, change: object): StoredRoot => ({
    ...root,
    signers: root.signers.map((signer) => ({ ...signer, ...change })),
  });

  it('is read back with its one active signer, all anchors in the bundle', () => {
    const state = parse(a, b);
    assert.equal(state.active.anchor.root.id, a.id);
    assert.deepEqual(state.active.chain, [], 'the root signs by itself');
    assert.deepEqual(
      state.bundle.roots.map((root) => root.id),
      [a.id, b.id],
    );
  });

  it('may have dropped the private key of a retiring signer, and of no other', () => {
    const without = withSigner(a, { privateKey: undefined });
    const state = parse({ ...without, state: 'retiring' }, { ...b, state: 'active' });
    assert.equal(state.active.anchor.root.id, b.id);
    assert.throws(() => parse(without), { ...invalid, message: /no private key/ });
  });

  it('holds several signers under one trust anchor, and anchors with none of ours', () => {
    const { trustAnchors, signers } = JSON.parse(encoded({ ...a, signers: [...a.signers, intermediateOf(a)] }, b));
    const [root, intermediate] = signers;
    for (const [first, second] of [
      ['active', 'prepared'],
      ['retiring', 'active'],
    ]) {
      const moved = [
        { ...root, state: first },
        { ...intermediate, state: second },
      ];
      const state = parseAuthority(encodeAuthority(trustDomain, { trustAnchors, signers: moved }), trustDomain);
      assert.equal(state.signers.length, 2);
      assert.equal(state.active.id, first === 'active' ? root.id : intermediate.id);
      assert.equal(state.active.anchor.root.id, a.id);
    }
  });

  it('takes a signer whose intermediate the root allows, with all that leads to the root and the time all of it is valid', () => {
    const intermediate = intermediateOf(a, { days: 30 });
    const { active } = parse({ ...a, signers: [intermediate] });
    assert.deepEqual([active.id, active.issuer.pem], [intermediate.id, intermediate.chain[0]]);
    const days = (active.validity.notAfter.getTime() - active.validity.notBefore.getTime()) / 86_400_000;
    assert.equal(days, 30);
  });

  const intermediate = intermediateOf(a, { pathLength: 1 });
  for (const [what, signer] of [
    ['more intermediates than the root allows', intermediateOf(a, { by: intermediate })],
    ['an intermediate of another root', intermediateOf(b)],
    ['an intermediate missing', { ...intermediateOf(a, { by: intermediate }), chain: intermediate.chain }],
    ['its chain in the wrong order', { ...intermediate, chain: [a.certificate, ...intermediate.chain] }],
    ['its key not that of its certificate', { ...intermediate, privateKey: keyOf(a) }],
  ] as const) {
    it(`R15 is refused with ${what}`, () => {
      assert.throws(() => parse({ ...a, signers: [signer] }, b), invalid);
    });
  }

  for (const [what, broken] of [
    ['none active', [{ ...a, state: 'retiring' }]],
    ['two active', [a, { ...b, state: 'active' }]],
    ['one twice', [a, { ...a, state: 'prepared' }]],
    ["another one's key", [withSigner(a, { privateKey: keyOf(b) })]],
    ["another one's certificate", [{ ...a, certificate: b.certificate }]],
    ["another one's id", [{ ...a, id: b.id }]],
    ['a certificate cut short', [{ ...a, certificate: a.certificate.slice(0, -60) }]],
    ['a key cut short', [withSigner(a, { privateKey: keyOf(a).slice(0, -60) })]],
    ['two certificates in one place', [{ ...a, certificate: a.certificate + b.certificate }]],
    ['an unknown field', [withSigner(a, { extra: 1 })]],
    ['a signer twice', [{ ...a, signers: [...a.signers, ...a.signers] }]],
    ['no signer', [{ ...a, signers: [] }]],
  ] as const) {
    it(`R15 is refused with ${what}`, () => {
      assert.throws(() => parse(...broken), invalid);
    });
  }

  for (const [what, edit] of [
    ['nothing in it', { trustAnchors: [], signers: [] }],
    ['an unknown state', { trustAnchors: [{ ...JSON.parse(text).trustAnchors[0], state: 'gone' }] }],
    [
      'a signer ahead of its trust anchor',
      { trustAnchors: [{ ...JSON.parse(text).trustAnchors[0], state: 'prepared' }] },
    ],
    [
      'a signer that outlives its trust anchor',
      { trustAnchors: [{ ...JSON.parse(text).trustAnchors[0], state: 'retiring' }] },
    ],
    ['a signer under no trust anchor', { signers: [{ ...JSON.parse(text).signers[0], trustAnchor: b.id }] }],
  ] as const) {
    it(`R15 is refused with ${what}`, () => {
      assert.throws(() => parseAuthority(JSON.stringify({ ...JSON.parse(text), ...edit }), trustDomain), invalid);
    });
  }

  it('R15 of another format is refused by name, with what to do', () => {
    for (const other of ['{"format":1,"trustDomain":"cluster.local","authorities":[]}', text.replace('":2', '":3')]) {
      assert.throws(() => parseAuthority(other, trustDomain), {
        code: 'AuthorityFormatUnknown',
        message: /tulle-ca in tulle-system is of format [13], .* reads format 2/,
        fix: /version of Tulle that wrote it/,
      });
    }
  });

  it('R15 is refused when it is of another trust domain, in its text or in its certificates', () => {
    const other = parseTrustDomain('other.example');
    const foreign = storedRoot('active', other);
    const ofOther = (stored: string) => stored.replace('"cluster.local"', '"other.example"');
    for (const edited of [ofOther(encoded(foreign)), encoded(foreign), ofOther(encoded(a))]) {
      assert.throws(() => parseAuthority(edited, trustDomain), invalid);
    }
  });

  it('R15 is refused truncated at any byte, and no error shows any of its key', () => {
    const secret = keyOf(a).split('\n').slice(1, -2).join('');
    for (let length = 0; length < text.length; length += 7) {
      assert.throws(
        () => parseAuthority(text.slice(0, length), trustDomain),
        (error: unknown) => isTulleError(error, 'AuthorityStateInvalid') && !shows(error, secret),
      );
    }
  });

  it('R15 is refused or means the same, whatever bytes are changed (fuzz)', () => {
    const secret = keyOf(a).split('\n').slice(1, -2).join('');
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(6), fc.string({ maxLength: 6 }), (at, remove, insert) => {
        const edited = text.slice(0, at) + insert + text.slice(at + remove);
        try {
          assert.equal(parseAuthority(edited, trustDomain).bundle.pem, a.certificate);
        } catch (error) {
          const refused = isTulleError(error, 'AuthorityStateInvalid') || isTulleError(error, 'AuthorityFormatUnknown');
          if (!refused) throw error;
          assert.ok(!shows(error, secret));
        }
      }),
      { numRuns: 1500 },
    );
  });
});

/** Whether an error, or what it was caused by, shows eight characters in a row of a secret. */
function shows(error: unknown, secret: string): boolean {
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    const text = `${each.message}${each.stack}`;
    for (let at = 0; at + 8 <= secret.length; at++) if (text.includes(secret.slice(at, at + 8))) return true;
  }
  return false;
}
