import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { Credentials } from '../../../src/kube/client/credentials.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

describe('credentials', () => {
  let folder: string;
  let clock: FakeClock;
  let credentials: Credentials;
  const file = (name: string) => join(folder, name);

  function certificate(): void {
    const subject = [
      '-subj',
      '/CN=test',
      '-days',
      '1',
      '-nodes',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
    ];
    const out = ['-keyout', file('key.pem'), '-out', file('cert.pem')];
    execFileSync('openssl', ['req', '-x509', ...subject, ...out], { stdio: 'ignore' });
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tulle-credentials-'));
    clock = new FakeClock();
    certificate();
    writeFileSync(file('ca.pem'), 'first');
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [{ name: 'c', server: 'https://127.0.0.1:6443/prefix', caFile: file('ca.pem') }],
      users: [{ name: 'u', certFile: file('cert.pem'), keyFile: file('key.pem'), token: 't' }],
      contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
      currentContext: 'x',
    });
    credentials = new Credentials(config, clock);
  });

  afterEach(async () => {
    await credentials.close();
    rmSync(folder, { recursive: true });
  });

  it('give where to, with which header, and one dispatcher for all', async () => {
    const [first, second] = await Promise.all([credentials.connection(), credentials.connection()]);
    assert.deepEqual([first.origin, first.pathPrefix], ['https://127.0.0.1:6443', '/prefix']);
    assert.deepEqual(first.headers, { authorization: 'Bearer t' });
    assert.equal(first.dispatcher, second.dispatcher);
  });

  it('keep the dispatcher while the files are the same, and take a new one when CA or certificate rotate', async () => {
    const { dispatcher } = await credentials.connection();
    await clock.advance(60_000);
    assert.equal((await credentials.connection()).dispatcher, dispatcher);
    writeFileSync(file('ca.pem'), 'second');
    assert.equal(
      (await credentials.connection()).dispatcher,
      dispatcher,
      'files are read now and then, not for each call',
    );
    await clock.advance(10_000);
    const renewed = await credentials.connection();
    assert.notEqual(renewed.dispatcher, dispatcher);
    certificate();
    await clock.advance(10_000);
    assert.notEqual((await credentials.connection()).dispatcher, renewed.dispatcher);
  });

  it('that cannot be read say which file, and are tried again', async () => {
    rmSync(file('ca.pem'));
    await assert.rejects(credentials.connection(), /ca\.pem/);
    writeFileSync(file('ca.pem'), 'back');
    assert.ok((await credentials.connection()).dispatcher);
  });
});
