import assert from 'node:assert/strict';
import { CompactSign, exportJWK, generateKeyPair, type JSONWebKeySet } from 'jose';
import { TokenKeys } from '../../../src/ca/issuance/token-keys.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

interface Signer {
  readonly kid: string;
  readonly jwks: JSONWebKeySet;
  token(kid?: string): Promise<string>;
}

async function signer(kid: string): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair('RS256');
  const payload = Buffer.from(JSON.stringify({ aud: ['tulle-ca'], exp: 1 }));
  return {
    kid,
    jwks: { keys: [{ ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' }] },
    token: (named = kid) => new CompactSign(payload).setProtectedHeader({ alg: 'RS256', kid: named }).sign(privateKey),
  };
}

describe('R38 the keys of the API server', () => {
  const log = new RecordingLog();
  let clock: FakeClock;
  let ours: Signer;
  let published: JSONWebKeySet | Error;
  let reads: number;
  let keys: TokenKeys;

  before(async () => {
    ours = await signer('a');
  });

  beforeEach(() => {
    clock = new FakeClock(1_000_000);
    published = ours.jwks;
    reads = 0;
    log.lines.length = 0;
    const read = async () => {
      reads += 1;
      if (published instanceof Error) throw published;
      return published;
    };
    keys = new TokenKeys({ read, clock, log });
  });

  /** One round of the loop that reads them. */
  async function read(): Promise<void> {
    const stop = new AbortController();
    const running = keys.run(stop.signal);
    stop.abort();
    await running;
  }

  it('tell what they signed, whenever it ends, from what they did not', async () => {
    await read();
    assert.equal(await keys.check(await ours.token()), 'good');
    const forger = await signer('a');
    assert.equal(await keys.check(await forger.token()), 'bad', 'under the name of a key of theirs');
    const [head, , signature] = (await ours.token()).split('.');
    assert.equal(await keys.check(`${head}.e30.${signature}`), 'bad', 'another content');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`;
    for (const text of [none, 'x', '', 'a.b.c']) assert.equal(await keys.check(text), 'bad');
  });

  it('are read again for a key that is not among them, and not more often than every ten seconds', async () => {
    await read();
    const next = await signer('b');
    published = { keys: [...ours.jwks.keys, ...next.jwks.keys] };
    assert.equal(await keys.check(await next.token()), 'bad');
    await clock.advance(10_000);
    const answers = await Promise.all([next, ours, next].map(async (each) => keys.check(await each.token())));
    assert.deepEqual([answers, reads], [['good', 'good', 'good'], 2]);
    for (let index = 0; index < 50; index++)
      assert.equal(await keys.check(await ours.token(`made-up-${index}`)), 'bad');
    assert.equal(reads, 2);
  });

  it('stay as they were while they cannot be read, and nothing is said of a token before they were', async () => {
    assert.equal(await keys.check(await ours.token()), 'unknown');
    published = new Error('403 Forbidden');
    for (let round = 0; round < 2; round++) await read();
    assert.equal(await keys.check('made.up.token'), 'unknown');
    assert.match(keys.problem ?? '', /403/);
    assert.deepEqual(
      log.lines.map(({ level }) => level),
      ['warn'],
      'said once',
    );
    published = ours.jwks;
    await read();
    published = { keys: [] };
    await read();
    assert.equal(await keys.check(await ours.token()), 'good');
    assert.equal(keys.problem, undefined);
  });
});
