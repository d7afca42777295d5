import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { writeKubeconfig } from '../../hack/cluster/kubeconfig.ts';
import { until } from '../../hack/process.ts';
import { annotations, meshName } from '../../src/api/names.ts';
import { type AuthorityReport, createCertificateAuthority } from '../../src/ca/authority/authority.ts';
import { bundleSha256 } from '../../src/ca/authority/trust-bundle.ts';
import { kubernetesEvidence } from '../../src/ca/kubernetes/evidence.ts';
import { kubernetesBundleStore, kubernetesSecretStore, watchAuthority } from '../../src/ca/kubernetes/stores.ts';
import { KubeClient } from '../../src/kube/client/client.ts';
import { systemClock } from '../../src/kube/clock.ts';
import { renderAccess } from '../../src/render/access.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { encoded, storedRoot } from '../fixtures/ca/stored-authorities.ts';

const root = resolve(import.meta.dirname, '../..');
const secretPath = '/api/v1/namespaces/tulle-system/secrets/tulle-ca';
const bundlePath = '/api/v1/namespaces/tulle-system/configmaps/tulle-trust-bundle';

interface ConfigMap {
  readonly metadata: { readonly annotations: Record<string, string>; readonly managedFields: { manager: string }[] };
  readonly data: Record<string, string>;
}

interface Secret {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly data: Record<string, string>;
}

/** What a replica's process prints. */
interface Outcome {
  readonly settled: boolean;
  readonly problem?: string;
  readonly bundle?: string;
  readonly leaf?: string;
}

describe('the authority on a real API server, with the rights control really has', function () {
  this.timeout(120_000);
  let api: ApiServer;
  let admin: KubeClient;
  let folder: string;
  /** Credentials of the service account tulle-control. */
  let kubeconfig: string;

  before(async () => {
    api = await startApiServer();
    admin = KubeClient.fromFile(api.kubeconfig);
    await admin.create('/api/v1/namespaces', { metadata: { name: 'tulle-system' } });
    for (const kind of ['mesh', 'meshnode']) await api.apply(await readFile(join(root, `crds/${kind}.yaml`), 'utf8'));
    await api.kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=20s');
    await until(
      'the kinds are served',
      () =>
        kubernetesEvidence(admin)
          .read()
          .then(
            () => true,
            () => false,
          ),
      {
        limitMs: 20_000,
      },
    );
    for (const manifest of renderAccess(meshName)) await admin.apply(manifest, { fieldManager: 'test' });
    await api.apply(await readFile(join(root, 'config/rbac/control-authority.yaml'), 'utf8'));
    const { status } = await admin.create<{ status: { token: string } }>(
      '/api/v1/namespaces/tulle-system/serviceaccounts/tulle-control/token',
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
    );
    folder = await mkdtemp(join(tmpdir(), 'tulle-ca-test-'));
    kubeconfig = join(folder, 'kubeconfig');
    writeKubeconfig(kubeconfig, { server: api.url, caFile: api.caFile, user: 'tulle-control', token: status.token });
  });

  after(async () => {
    await admin?.close();
    await api?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });

  afterEach(async () => {
    await api.kubectl(
      'delete',
      '-n',
      'tulle-system',
      '--ignore-not-found',
      'secret/tulle-ca',
      'configmap/tulle-trust-bundle',
    );
  });

  it('R09 ten replicas that boot at once on an empty cluster make one CA', async () => {
    const replicas = await Promise.all(Array.from({ length: 10 }, () => startReplica()));
    const outcomes = await Promise.all(replicas.map((replica) => replica.go()));
    const { data } = await admin.get<ConfigMap>(bundlePath);
    const published = data['root-cert.pem'] ?? '';
    const trusted = new X509Certificate(published);
    for (const outcome of outcomes) {
      assert.equal(outcome?.settled, true, outcome?.problem);
      assert.equal(outcome?.bundle, published, 'every replica serves what is published');
      assert.ok(new X509Certificate(outcome?.leaf ?? '').verify(trusted.publicKey), 'and signs with it');
    }
  });

  it('the bundle carries the hash of its exact text, and control owns it by server-side apply', async () => {
    await (await startReplica()).go();
    const { data, metadata } = await admin.get<ConfigMap>(bundlePath);
    assert.equal(metadata.annotations[annotations.bundleSha256], bundleSha256(data['root-cert.pem'] ?? ''));
    assert.deepEqual(
      metadata.managedFields.map((each) => each.manager),
      ['tulle-control'],
    );
  });

  for (const dieAt of ['before create', 'after create', 'before publish', 'after publish']) {
    it(`R10 a replica killed ${dieAt} leaves what the next start finishes, and nothing signed by a key that is not stored`, async () => {
      assert.equal(await (await startReplica({ DIE_AT: dieAt })).go(), undefined, 'it was killed before it signed');
      const stored = await admin.find<Secret>(secretPath);
      assert.equal(stored === undefined, dieAt === 'before create');
      const outcome = await (await startReplica()).go();
      assert.equal(outcome?.settled, true, outcome?.problem);
      const after = await admin.get<Secret>(secretPath);
      if (stored !== undefined) assert.deepEqual(after.data, stored.data, 'the stored root is the one served');
      assert.equal((await admin.get<ConfigMap>(bundlePath)).data['root-cert.pem'], outcome?.bundle);
    });
  }

  it('R11 a running replica sees at once that the Secret was truncated, swapped, deleted and restored, and signs only then', async () => {
    const stop = new AbortController();
    const client = KubeClient.fromFile(kubeconfig);
    const reports = new Reports();
    const authority = createCertificateAuthority({
      trustDomain: 'cluster.local',
      rootTtlSeconds: () => 315_360_000,
      leafTtlSeconds: () => 86_400,
      secrets: kubernetesSecretStore(client),
      bundles: kubernetesBundleStore(client),
      evidence: kubernetesEvidence(client),
      subscribe: watchAuthority(client, silentLog),
      clock: systemClock,
      log: silentLog,
      onReport: (report) => reports.add(report),
    });
    const running = authority.run(stop.signal);
    try {
      await reports.next((report) => report.issuing);
      const good = await admin.get<Secret>(secretPath);
      const served = authority.bundle()?.sha256;
      const state = Buffer.from(good.data['authority.json'] ?? '', 'base64').toString();

      await write({ 'authority.json': Buffer.from(state.slice(0, 400)).toString('base64') });
      await reports.next((report) => report.problem?.code === 'AuthorityStateInvalid');
      await write(good.data);
      await reports.next((report) => report.issuing);
      await write({ 'authority.json': Buffer.from(encoded(storedRoot())).toString('base64') });
      await reports.next((report) => report.problem?.code === 'AuthoritySwapped');
      await admin.delete(secretPath);
      await reports.next((report) => report.problem?.code === 'AuthorityLost');
      const late = await (await startReplica()).go();
      assert.equal(late?.settled, false, 'a replica that starts now makes no new CA');
      assert.match(late?.problem ?? '', /tulle-ca is gone/);
      assert.equal(await admin.find(secretPath), undefined);
      await admin.create('/api/v1/namespaces/tulle-system/secrets', {
        metadata: { name: 'tulle-ca' },
        data: good.data,
      });
      await reports.next((report) => report.issuing);
      assert.equal(authority.bundle()?.sha256, served);
    } finally {
      stop.abort();
      await running;
      await client.close();
    }

    async function write(data: Record<string, string>): Promise<void> {
      await admin.patch(secretPath, { data });
    }
  });

  it('makes the Secret only where there is none', async () => {
    const client = KubeClient.fromFile(kubeconfig);
    const secrets = kubernetesSecretStore(client);
    assert.equal(await secrets.create('{"a":1}'), 'created');
    assert.equal(await secrets.create('{"b":1}'), 'exists');
    assert.equal((await secrets.read())?.state, '{"a":1}');
    await client.close();
  });

  it('R08 publishes the bundle only over the version it read, and makes it only where there is none', async () => {
    const client = KubeClient.fromFile(kubeconfig);
    const bundles = kubernetesBundleStore(client);
    const bundle = (pem: string) => ({ pem, sha256: bundleSha256(pem) });
    assert.equal(await bundles.publish(bundle('a'), undefined), 'published');
    assert.equal(await bundles.publish(bundle('b'), undefined), 'conflict');
    const first = await bundles.read();
    assert.equal(first?.pem, 'a');
    assert.equal(await bundles.publish(bundle('c'), first?.version), 'published');
    assert.equal(await bundles.publish(bundle('d'), first?.version), 'conflict');
    const second = await bundles.read();
    assert.equal(second?.pem, 'c');
    await admin.delete(bundlePath);
    assert.equal(await bundles.publish(bundle('e'), second?.version), 'published', 'what was deleted is put back');
    await client.close();
  });

  it('R11 control may make the Secret of the authority, never change it, and make no other', async () => {
    const client = KubeClient.fromFile(kubeconfig);
    const create = (metadata: object, type?: string) =>
      client.create('/api/v1/namespaces/tulle-system/secrets', { metadata, type }, { dryRun: 'All' });
    const account = { 'kubernetes.io/service-account.name': 'tulle-operator' };
    const refused = { status: 403, message: /may create the Secret tulle-ca, of type Opaque, and no other/ };
    const inForce = () =>
      create({ name: 'other' }).then(
        () => false,
        () => true,
      );
    await until('the admission policy is in force', inForce, { limitMs: 20_000, everyMs: 100 });
    await assert.rejects(create({ name: 'other' }), refused);
    await assert.rejects(create({ generateName: 'tulle-ca' }), refused);
    const token = { name: 'tulle-ca', annotations: account };
    await assert.rejects(create(token, 'kubernetes.io/service-account-token'), refused);
    assert.equal(await kubernetesSecretStore(client).create('{"a":1}'), 'created');
    const changed = { metadata: { name: 'tulle-ca' }, data: {} };
    await assert.rejects(client.patch(secretPath, changed), { status: 403 });
    await assert.rejects(client.replace(secretPath, changed), { status: 403 });
    await assert.rejects(client.delete(secretPath), { status: 403 });
    await client.close();
  });

  it('control may touch no other Secret and no other ConfigMap', async () => {
    const client = KubeClient.fromFile(kubeconfig);
    await admin.create('/api/v1/namespaces/tulle-system/secrets', { metadata: { name: 'other' } });
    await assert.rejects(client.get('/api/v1/namespaces/tulle-system/secrets/other'), { status: 403 });
    await assert.rejects(client.list('/api/v1/namespaces/tulle-system/secrets'), { status: 403 });
    await assert.rejects(client.get('/api/v1/namespaces/tulle-system/configmaps/other'), { status: 403 });
    await client.close();
  });

  /** A replica as a process, up and waiting; `go` gives what it printed, undefined when it was killed. */
  async function startReplica(env: Record<string, string> = {}): Promise<{ go(): Promise<Outcome | undefined> }> {
    const child: ChildProcess = spawn(process.execPath, [join(root, 'test/fixtures/ca/replica-process.ts')], {
      env: { ...process.env, KUBECONFIG: kubeconfig, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines: string[] = [];
    const output = createInterface({ input: child.stdout ?? process.stdin });
    output.on('line', (line) => lines.push(line));
    const closed = Promise.all([once(child, 'close'), once(output, 'close')]);
    await once(output, 'line');
    return {
      async go() {
        child.stdin?.write('go\n');
        await closed;
        return lines[1] === undefined ? undefined : JSON.parse(lines[1]);
      },
    };
  }
});

/** The reports of an authority, to be waited for in order. */
class Reports {
  readonly #unread: AuthorityReport[] = [];
  #arrived = Promise.withResolvers<void>();

  add(report: AuthorityReport): void {
    this.#unread.push(report);
    this.#arrived.resolve();
  }

  /** The first report from now on that fits; with a problem nothing is signed. */
  async next(fits: (report: AuthorityReport) => boolean): Promise<AuthorityReport> {
    for (;;) {
      const report = this.#unread.shift();
      if (report === undefined) {
        this.#arrived = Promise.withResolvers();
        await this.#arrived.promise;
        continue;
      }
      assert.equal(report.issuing, report.problem === undefined, report.problem?.message);
      if (fits(report)) return report;
    }
  }
}
