import { strictEqual } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ControlCluster } from './control-cluster.ts';

describe('the process tulle-control', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
  });

  after(() => cluster?.stop());

  function start(env: Record<string, string>) {
    const child = spawn(process.execPath, ['src/cmd/control.ts'], {
      env: { PATH: process.env.PATH ?? '', TULLE_GRPC_PORT: '0', TULLE_HTTP_PORT: '0', TULLE_LEAVE_MS: '10', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines: string[] = [];
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const reader = createInterface(child.stdout);
    const line = (message: string) =>
      new Promise<void>((resolve, reject) => {
        reader.on('line', (text) => {
          lines.push(text);
          if (text.includes(`"msg":"${message}"`)) resolve();
        });
        void ended.then((code) => reject(new Error(`ended with ${code}:\n${lines.join('\n')}`)));
      });
    return { child, ended, line, lines };
  }

  it('serves, and ends with 0 when it is told to', async () => {
    const { child, ended, line, lines } = start({ KUBECONFIG: cluster.api.kubeconfig });
    await line('serving');
    child.kill('SIGTERM');
    strictEqual(await ended, 0, lines.join('\n'));
    strictEqual(lines.join('\n').includes('PRIVATE KEY'), false);
    strictEqual(lines.join('\n').includes(cluster.api.adminToken), false);
  });

  it('ends with 1 and says why when its environment is wrong', async () => {
    const { ended, line } = start({ TULLE_GRPC_PORT: 'many' });
    await line('tulle-control cannot go on');
    strictEqual(await ended, 1);
  });
});
