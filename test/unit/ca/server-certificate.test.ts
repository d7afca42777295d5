import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { controlDnsNames } from '../../../src/api/names.ts';
import { serverCertificate } from '../../../src/ca/issuance/server-certificate.ts';
import { replica } from '../../fixtures/ca/authority.ts';
import { MemoryCluster } from '../../fixtures/ca/memory-stores.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';
import { bundleOf, encoded, reportOf, storedRoot } from '../../fixtures/ca/stored-authorities.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

describe("control's own server certificate", () => {
  const clock = new FakeClock();
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

  it('is renewed with a new key at half of its life, not before', async () => {
    const before = server.current();
    await clock.advance(43_199_000);
    server.renewIfDue();
    assert.equal(server.current(), before);
    await clock.advance(1_000);
    server.renewIfDue();
    assert.notEqual(server.current()?.privateKey, before?.privateKey);
    assert.equal(renewals.length, 2);
  });

  it('R11 goes on as it is while nothing may be signed, and says so once', async () => {
    const before = server.current();
    const { secret } = cluster;
    cluster.secret = undefined;
    await authority.reconcile();
    await clock.advance(43_200_000);
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

  it('R07 follows the active signer, though the bundle stays as it is, and nothing else that happens to the bundle', async () => {
    const [a, b] = [storedRoot(), storedRoot('prepared')];
    const others = new MemoryCluster();
    const rotating = replica({ cluster: others });
    const rotated = serverCertificate({ authority: rotating, dnsNames: ['control'], clock: new FakeClock(), log });
    const look = async (...stored: Parameters<typeof encoded>) => {
      others.edit(encoded(...stored));
      others.recorded = reportOf(...stored);
      await rotating.reconcile();
      rotated.renewIfDue();
      return new X509Certificate(rotated.current()?.certificate ?? '');
    };
    const first = await look(a);
    assert.equal((await look(a, b)).serialNumber, first.serialNumber, 'a root that is only trusted signs nothing');
    const next = await look({ ...a, state: 'retiring' }, { ...b, state: 'active' });
    assert.deepEqual(others.published, bundleOf(a, b));
    assert.ok(next.verify(new X509Certificate(b.certificate).publicKey));
  });

  it('goes on as it is when it cannot be renewed', async () => {
    const before = server.current();
    await clock.advance(20 * 365 * 86_400_000);
    server.renewIfDue();
    assert.equal(server.current(), before);
    assert.equal(log.lines.at(-1)?.level, 'error');
    assert.ok(!log.text().includes('PRIVATE KEY'));
  });
});
