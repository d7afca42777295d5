import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  parseSpiffeId,
  parseTrustDomain,
  parseWorkloadIdentity,
  workloadSpiffeId,
} from '../../../src/ca/x509/spiffe-id.ts';

const longestTrustDomain = 'a'.repeat(255);
const allowedInPath = /^[A-Za-z0-9._-]$/;
const allowedInTrustDomain = /^[a-z0-9._-]$/;

/** The cases of the SPIFFE-ID document and of the published implementations' vectors: text, and the reason it is refused for. */
const refused: readonly (readonly [string, RegExp])[] = [
  ['', /empty/],
  ['192.168.2.2:6688', /does not start with spiffe/],
  ['domain.test/path', /does not start with spiffe/],
  ['http://domain.test/path/element', /does not start with spiffe/],
  ['xspiffe://domain.test/path', /does not start with spiffe/],
  ['SPIFFE://domain.test/path/element', /does not start with spiffe/],
  ['Spiffe://domain.test', /does not start with spiffe/],
  ['spiffe:path/element', /does not start with spiffe/],
  ['spiffe:/path/element', /does not start with spiffe/],
  ['spiffe:', /does not start with spiffe/],
  ['spiffe:/', /does not start with spiffe/],
  [' spiffe://domain.test', /does not start with spiffe/],
  ['spiffe://', /empty/],
  ['spiffe:///', /empty/],
  ['spiffe:///path/element', /empty/],
  ['spiffe://Domain.test/path', /trust domain/],
  ['spiffe://domain.test:8080/path/element', /trust domain/],
  ['spiffe://domain.test:/path', /trust domain/],
  ['spiffe://user:password@test.org/path/element', /trust domain/],
  ['spiffe://user@domain.test/path', /trust domain/],
  ['spiffe://dömain.test/path', /trust domain/],
  ['spiffe://domain%2etest/path', /trust domain/],
  ['spiffe://[::1]/path', /trust domain/],
  ['spiffe://domain.test?query', /trust domain/],
  ['spiffe://domain.test#fragment', /trust domain/],
  ['spiffe://domain.test\n/path', /trust domain/],
  [`spiffe://${longestTrustDomain}a`, /longer than 255/],
  ['spiffe://domain.test/', /empty segment or ends with a slash/],
  ['spiffe://domain.test//', /empty segment/],
  ['spiffe://domain.test//path', /empty segment/],
  ['spiffe://domain.test/path/', /ends with a slash/],
  ['spiffe://domain.test/path//element', /empty segment/],
  ['spiffe://domain.test/.', /dot segment/],
  ['spiffe://domain.test/..', /dot segment/],
  ['spiffe://domain.test/./path', /dot segment/],
  ['spiffe://domain.test/path/../element', /dot segment/],
  ['spiffe://domain.test/path/..', /dot segment/],
  ['spiffe://domain.test/path/element?query=1', /path/],
  ['spiffe://domain.test/path/element#fragment-1', /path/],
  ['spiffe://domain.test/path/element?#fragment-1', /path/],
  ['spiffe://domain.test/pa:th/element:', /path/],
  ['spiffe://domain.test/pa@th', /path/],
  ['spiffe://domain.test/path/elem%5uent', /path/],
  ['spiffe://domain.test/path/elem%65nt', /path/],
  ['spiffe://domain.test/path/%2e%2e', /path/],
  ["spiffe://domain.test/p!a$t&h'/(e)l*e+m,e;n=t", /path/],
  ['spiffe://domain.test/path/elem[ent', /path/],
  ['spiffe://domain.test/spiffe://domain.test/path', /path/],
  ['spiffe://domain.test/pa th', /path/],
  ['spiffe://domain.test/päth', /path/],
  ['spiffe://domain.test/path\n', /path/],
  ['spiffe://domain.test/path\0', /path/],
  ['spiffe://domain.test\\path', /trust domain/],
  [`spiffe://domain.test/${'a'.repeat(2048)}`, /longer than 2048/],
];

const accepted: readonly string[] = [
  'spiffe://domain.test',
  'spiffe://domain.test/path/element',
  'spiffe://trust-domain_1.example/Path/ELEMENT.-_9',
  'spiffe://1.2.3.4/path',
  'spiffe://domain.test/...',
  'spiffe://domain.test/.hidden/..more',
  'spiffe://_/-',
  `spiffe://${longestTrustDomain}/path`,
  `spiffe://domain.test/${'a'.repeat(2048 - 'spiffe://domain.test/'.length)}`,
];

describe('R04 SPIFFE IDs', () => {
  for (const text of accepted) {
    it(`R04 takes ${short(text)}`, () => assert.equal(parseSpiffeId(text), text));
  }

  for (const [text, reason] of refused) {
    it(`R04 refuses ${short(text)}`, () => {
      assert.throws(() => parseSpiffeId(text), { code: 'SpiffeIdInvalid', message: reason });
    });
  }

  it('R04 judges every single character of a trust domain and of a path by the specification', () => {
    for (let code = 0; code < 0x250; code++) {
      const character = String.fromCharCode(code);
      if (character === '/') continue;
      assert.equal(isTaken(`spiffe://a${character}a`), allowedInTrustDomain.test(character), `trust domain, ${code}`);
      assert.equal(isTaken(`spiffe://td/a${character}a`), allowedInPath.test(character), `path, ${code}`);
    }
  });

  it('R04 takes exactly what a grammar of its own says, on random texts near the real thing', () => {
    const piece = fc.constantFrom(
      'spiffe://',
      'SPIFFE://',
      '/',
      '//',
      '.',
      '..',
      'ns',
      'A',
      'a',
      '%41',
      ':',
      '@',
      '?',
      '#',
      '-',
      '_',
      'é',
    );
    const grammar = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)*$/;
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = `spiffe://${pieces.join('')}`;
        assert.equal(isTaken(text), grammar.test(text), text);
      }),
      { numRuns: 5000 },
    );
  });

  it('R04 names a workload and reads the name back', () => {
    const identity = { trustDomain: parseTrustDomain('cluster.local'), namespace: 'shop', serviceAccount: 'cart.v1' };
    const id = workloadSpiffeId(identity);
    assert.equal(id, 'spiffe://cluster.local/ns/shop/sa/cart.v1');
    assert.deepEqual(parseWorkloadIdentity(id), identity);
  });

  for (const [namespace, serviceAccount] of [
    ['shop/sa/admin', 'x'],
    ['shop', 'cart/extra'],
    ['shop', ''],
    ['', 'cart'],
    ['..', 'cart'],
    ['shop', 'ca rt'],
  ] as const) {
    it(`R04 does not build an ID from ${JSON.stringify(namespace)} and ${JSON.stringify(serviceAccount)}`, () => {
      const trustDomain = parseTrustDomain('cluster.local');
      assert.throws(() => workloadSpiffeId({ trustDomain, namespace, serviceAccount }), { code: 'SpiffeIdInvalid' });
    });
  }

  for (const id of [
    'spiffe://td',
    'spiffe://td/ns/a',
    'spiffe://td/ns/a/sa',
    'spiffe://td/ns/a/sa/b/c',
    'spiffe://td/sa/a/ns/b',
  ]) {
    it(`R04 does not take ${id} for a workload`, () => {
      assert.throws(() => parseWorkloadIdentity(parseSpiffeId(id)), { code: 'SpiffeIdInvalid' });
    });
  }

  it('R04 shows a refused text short and on one line', () => {
    assert.throws(
      () => parseSpiffeId(`x\n${'y'.repeat(3000)}`),
      (error: Error) => error.message.length < 250 && !error.message.includes('\n'),
    );
  });
});

function isTaken(text: string): boolean {
  try {
    parseSpiffeId(text);
    return true;
  } catch {
    return false;
  }
}

function short(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}… (${text.length})` : text);
}
