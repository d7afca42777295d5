import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeClient } from '../../src/kube/client/client.ts';
import type { Lease } from '../../src/kube/objects.ts';
import { type ApiServer, startApiServer } from '../fixtures/apiserver.ts';
import { adminClient, eventually, installConfig, kubeConfigFor, operatorToken, release } from './operator-cluster.ts';

describe('the operator as a process', () => {
  const lease = '/apis/coordination.k8s.io/v1/namespaces/tulle-system/leases/tulle-operator';
  let api: ApiServer;
  let admin: KubeClient;
  let folder: string;

  before(async () => {
    api = await startApiServer();
    admin = adminClient(api);
    await installConfig(api);
    folder = mkdtempSync(join(tmpdir(), 'tulle-operator-'));
    writeFileSync(join(folder, 'kubeconfig'), kubeConfigFor(api, await operatorToken(api)).exportConfig());
  });

  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await admin?.close();
    await api?.stop();
  });

  it('leads, and on SIGTERM gives up its lease and ends by itself: nothing is left running', async () => {
    const child = spawn(process.execPath, ['src/cmd/operator.ts'], {
      env: {
        KUBECONFIG: join(folder, 'kubeconfig'),
        TULLE_VERSION: release.version,
        TULLE_IMAGE: release.image,
        TULLE_NODE_IMAGE: release.nodeImage,
        TULLE_POD_NAME: 'operator-1',
        TULLE_HTTP_PORT: '0',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let log = '';
    child.stdout.on('data', (chunk) => {
      log += chunk;
    });
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(40_000) });
    await eventually<Lease>(admin, lease, (object) => object?.spec?.holderIdentity === 'operator-1');
    child.kill('SIGTERM');
    const [code, signal] = await ended;
    assert.deepEqual([code, signal], [0, null], log);
    assert.equal((await admin.get<Lease>(lease)).spec?.holderIdentity, '');
    const lines = log.trimEnd().split('\n');
    const messages = lines.map((line): string => JSON.parse(line).msg);
    assert.deepEqual([messages[0], messages.at(-1)], ['starting', 'stopped']);
    assert.doesNotMatch(log, /eyJ/, 'a token is in the log');
  });
});
