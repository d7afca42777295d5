import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { controlDnsNames } from '../../../src/api/names.ts';
import { encodeAuthorityState } from '../../../src/ca/authority-state.ts';
import { makeRootAuthority } from '../../../src/ca/root-authority.ts';
import { serverCertificate } from '../../../src/ca/server-certificate.ts';
import { parseTrustDomain } from '../../../src/ca/spiffe-id.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { ManualClock } from '../../fixtures/ca/manual-clock.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';

describe("control's own server certificate", () => {
  const clock = new ManualClock();
  const cluster = new MemoryCluster();
  const authority = replica({ cluster, clock });
  const log = new RecordingLog();
  const server = serverCertificate({ authority, dnsNames: controlDnsNames, clock, log });
  const renewals: string[] = [];

  it('is not there before the authority is, and then names the service', async () => {
    server.renewIfDue();
    assert.equal(server.current(), undefined);
    await authority.reconcile();
    server.onChange(({ certificate }) => renewals.push(certificate));
    server.renewIfDue();
    const pair = server.current();
    const certificate = new X509Certificate(pair?.certificate ?? '');
    assert.equal(certificate.subjectAltName, controlDnsNames.map((name) => `DNS:${name}`).join(', '));
    assert.ok(certificate.checkPrivateKey(createPrivateKey(pair?.privateKey ?? '')));
    assert.equal(renewals.length, 1);
  });

  it('is renewed with a new key at half of its life, not before', () => {
    const before = server.current();
    clock.time += 43_199_000;
    server.renewIfDue();
    assert.equal(server.current(), before);
    clock.time += 1_000;
    server.renewIfDue();
    assert.notEqual(server.current()?.privateKey, before?.privateKey);
    assert.equal(renewals.length, 2);
  });

  it('is renewed at once when the trust bundle changes', async () => {
    const [stored] = JSON.parse(cluster.secret?.state ?? '').authorities;
    const trustDomain = parseTrustDomain('cluster.local');
    const next = makeRootAuthority(trustDomain, 315_360_000, clock.now(), 'prepared');
    cluster.edit(encodeAuthorityState(trustDomain, [stored, next]));
    await authority.reconcile();
    server.renewIfDue();
    assert.equal(renewals.length, 3);
    assert.equal(server.current()?.bundleSha256, authority.bundle()?.sha256);
  });

  it('R11 goes on as it is while nothing may be signed, and says so once', async () => {
    const before = server.current();
    const { secret } = cluster;
    cluster.secret = undefined;
    await authority.reconcile();
    clock.time += 43_200_000;
    const lines = log.lines.length;
    server.renewIfDue();
    server.renewIfDue();
    assert.equal(server.current(), before);
    assert.equal(log.lines.length, lines + 1);
    cluster.secret = secret;
    await authority.reconcile();
    server.renewIfDue();
    assert.notEqual(server.current(), before);
  });

  it('goes on as it is when it cannot be renewed', () => {
    const before = server.current();
    clock.time += 20 * 365 * 86_400_000;
    server.renewIfDue();
    assert.equal(server.current(), before);
    assert.equal(log.lines.at(-1)?.level, 'error');
    assert.ok(!log.text().includes('PRIVATE KEY'));
  });
});
