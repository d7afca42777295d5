import assert from 'node:assert/strict';
import { tokenExtra } from '../../../src/api/names.ts';
import { createCallerVerifier } from '../../../src/ca/issuance/caller.ts';
import type { Signature } from '../../../src/ca/issuance/token-keys.ts';
import type { TokenReviewStatus } from '../../../src/ca/issuance/token-reviewer.ts';
import { anyKeys, CountingReviewer, proxyReview, tokenOf } from '../../fixtures/ca/callers.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

const username = 'system:serviceaccount:tulle-system:tulle-proxy';

describe('who calls', () => {
  const clock = new FakeClock();
  const reviewer = new CountingReviewer();
  const bearer = (token: string, address = '10.0.0.1') => ({ authorization: `Bearer ${token}`, address });
  let callers = createCallerVerifier({ reviewer, keys: anyKeys, clock });

  beforeEach(() => {
    reviewer.asked.length = 0;
    reviewer.answer = async () => proxyReview();
    callers = createCallerVerifier({ reviewer, keys: anyKeys, clock });
  });

  it('R01 is the service account, pod, UID and node of the reviewed token', async () => {
    assert.deepEqual(await callers.verify(bearer(tokenOf('c'))), {
      namespace: 'tulle-system',
      serviceAccount: 'tulle-proxy',
      pod: { name: 'proxy-1', uid: 'uid-proxy-1' },
      node: 'node-1',
    });
  });

  const asUser = (name: string) => proxyReview({ user: { ...proxyReview().user, username: name } });
  const refusedReviews: readonly (readonly [string, TokenReviewStatus, RegExp])[] = [
    ['is not authenticated', proxyReview({ authenticated: false }), /not valid/],
    ['has no verdict', {}, /not valid/],
    ['was reviewed by an API server that leaves audiences out', withoutAudiences(), /audience/],
    ['was reviewed for no audience', proxyReview({ audiences: [] }), /audience/],
    ['is for another audience', proxyReview({ audiences: ['vault'] }), /audience/],
    ['is of a user', asUser('admin'), /service account/],
    ['is of a node', asUser('system:node:node-1'), /service account/],
    ['has a longer name than a service account', asUser(`${username}:x`), /service account/],
    ['has an empty namespace', asUser('system:serviceaccount::tulle-proxy'), /service account/],
    ['is not bound to a pod', proxyReview({ user: { username } }), /bound to a pod/],
    ['has no pod UID', proxyReview({}, { [tokenExtra.podUid]: [] }), /bound to a pod/],
    ['has two pod UIDs', proxyReview({}, { [tokenExtra.podUid]: ['a', 'b'] }), /bound to a pod/],
    ['has an empty pod name', proxyReview({}, { [tokenExtra.podName]: [''] }), /bound to a pod/],
  ];
  for (const [what, review, message] of refusedReviews) {
    it(`R01 is nobody when the token ${what}`, async () => {
      reviewer.answer = async () => review;
      await assert.rejects(callers.verify(bearer(tokenOf('c'))), { code: 'CallerUnauthenticated', message });
    });
  }

  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic abc',
    'Bearer a b',
    'Bearer a\nb',
    `Bearer ${'a'.repeat(9000)}`,
  ]) {
    it(`asks nobody about the header ${JSON.stringify(header?.slice(0, 20))}`, async () => {
      await assert.rejects(callers.verify({ authorization: header, address: '10.0.0.1' }), {
        code: 'CallerUnauthenticated',
      });
      assert.equal(reviewer.asked.length, 0);
    });
  }

  const now = () => clock.now() / 1000;
  const implausible: readonly (readonly [string, () => string])[] = [
    ['is not a JWT', () => 'opaque'],
    ['has no signature', () => tokenOf('')],
    ['has a fourth part', () => tokenOf('c.d')],
    ['has claims that are not JSON', () => 'header.claims.c'],
    ['has no audience', () => tokenOf('c', { aud: undefined })],
    ['is for another audience', () => tokenOf('c', { aud: ['vault'] })],
    ['never expires', () => tokenOf('c', { exp: undefined })],
    ['expires at no time', () => tokenOf('c', { exp: 'never' })],
    ['has expired a minute ago', () => tokenOf('c', { exp: now() - 60 })],
  ];
  for (const [what, token] of implausible) {
    it(`is nobody when the token ${what}, and the API server is not asked`, async () => {
      await assert.rejects(callers.verify(bearer(token())), { code: 'CallerUnauthenticated' });
      assert.equal(reviewer.asked.length, 0);
    });
  }

  it('is asked where the token may be good: of one audience or several, or expired by a little', async () => {
    const good = [{ aud: 'istio-ca' }, { aud: ['vault', 'tulle-ca'] }, { exp: now() - 59 }];
    for (const claims of good) await callers.verify(bearer(tokenOf('c', claims)));
    assert.equal(reviewer.asked.length, 3);
  });

  it('R38 is nobody, and the API server is not asked, when it did not sign the token', async () => {
    callers = createCallerVerifier({ reviewer, keys: { check: async () => 'bad' }, clock });
    const refused = { code: 'CallerUnauthenticated', message: /not signed by a key of the API server/ };
    await assert.rejects(callers.verify(bearer(tokenOf('c'))), refused);
    assert.equal(reviewer.asked.length, 0);
  });

  it('R38 waits for no forged token, and where nobody can tell forged tokens, for one of each address', async () => {
    const check = async (token: string): Promise<Signature> => (token.endsWith('.good') ? 'good' : 'unknown');
    const one = { running: 1, waiting: 100, waitingEach: 10 };
    callers = createCallerVerifier({ reviewer, keys: { check }, clock, limits: { good: one, unknown: one } });
    const gate = Promise.withResolvers<void>();
    reviewer.answer = () => gate.promise.then(() => proxyReview({ authenticated: false }));
    const flood = Array.from({ length: 20 }, (_, index) =>
      callers.verify(bearer(tokenOf(`forged${index}`), '10.6.6.6')),
    );
    const refused = Promise.allSettled(flood);
    const honest = callers.verify(bearer(tokenOf('unknown'), '10.0.0.2'));
    await new Promise((resolve) => setImmediate(resolve));
    reviewer.answer = async () => proxyReview();
    assert.ok(await callers.verify(bearer(tokenOf('good'), '10.0.0.3')), 'while the others wait');
    const asked = reviewer.asked.length;
    gate.resolve();
    assert.ok(await honest);
    assert.equal(reviewer.asked.slice(asked).indexOf(tokenOf('unknown')), 1, 'its turn comes second');
    const codes = (await refused).map((each) => (each.status === 'rejected' ? each.reason.code : 'known'));
    assert.equal(codes.filter((code) => code === 'CallerReviewsOverloaded').length, 9);
  });

  it('is asked of the API server about so many at once, so many wait, and the rest is sent away', async () => {
    const gate = Promise.withResolvers<void>();
    reviewer.answer = () => gate.promise.then(() => proxyReview());
    const limits = { running: 2, waiting: 3, waitingEach: 3 };
    callers = createCallerVerifier({ reviewer, keys: anyKeys, clock, limits: { good: limits, unknown: limits } });
    const outcomes = Array.from({ length: 9 }, (_, index) =>
      callers.verify(bearer(tokenOf(`t${index}`))).then(
        () => 'known',
        (error: { code?: string }) => error.code,
      ),
    );
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(reviewer.asked.length, 2);
    gate.resolve();
    assert.deepEqual(await Promise.all(outcomes), [
      ...new Array(5).fill('known'),
      ...new Array(4).fill('CallerReviewsOverloaded'),
    ]);
  });

  it('is asked of the API server once a minute, not at every call', async () => {
    await callers.verify(bearer(tokenOf('c')));
    await clock.advance(59_999);
    await callers.verify(bearer(tokenOf('c')));
    assert.equal(reviewer.asked.length, 1);
    await clock.advance(1);
    await callers.verify(bearer(tokenOf('c')));
    assert.equal(reviewer.asked.length, 2);
  });

  it('is not remembered past the expiry of the token', async () => {
    const token = tokenOf('c', { exp: Math.floor(clock.now() / 1000) + 10 });
    await callers.verify(bearer(token));
    await clock.advance(10_000);
    await callers.verify(bearer(token));
    assert.equal(reviewer.asked.length, 2);
  });

  it('is never remembered when refused', async () => {
    reviewer.answer = async () => proxyReview({ authenticated: false });
    for (let call = 0; call < 2; call++) await assert.rejects(callers.verify(bearer(tokenOf('c'))));
    reviewer.answer = async () => proxyReview();
    await callers.verify(bearer(tokenOf('c')));
    assert.equal(reviewer.asked.length, 3);
  });

  it('is reviewed once for calls that come together', async () => {
    await Promise.all(Array.from({ length: 50 }, () => callers.verify(bearer(tokenOf('c')))));
    assert.equal(reviewer.asked.length, 1);
  });

  it('is remembered for a bounded number of tokens', async () => {
    for (let index = 0; index <= 4096; index++) await callers.verify(bearer(tokenOf(`t${index}`)));
    await callers.verify(bearer(tokenOf('t4096')));
    assert.equal(reviewer.asked.length, 4097);
    await callers.verify(bearer(tokenOf('t0')));
    assert.equal(reviewer.asked.length, 4098);
  });

  it('cannot be told while the API server does not answer, and no error shows the token', async () => {
    const token = tokenOf('secret');
    reviewer.answer = async () => {
      throw new Error(`POST failed: {"spec":{"token":"${token}"}}`);
    };
    await assert.rejects(callers.verify(bearer(token)), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CallerReviewUnavailable');
      assert.ok(!`${error.message}${error.stack}${String(error.cause)}`.includes(token));
      return true;
    });
  });
});

/** What an API server answers that has never heard of audiences, and so has checked none. */
function withoutAudiences(): TokenReviewStatus {
  const { audiences: _, ...review } = proxyReview();
  return review;
}
