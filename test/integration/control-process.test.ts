import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http2 from 'node:http2';
import { createInterface } from 'node:readline';
import { gzipSync } from 'node:zlib';
import { statusCodes } from '../../src/grpc/status.ts';
import { CertificateClient } from '../fixtures/ca/certificate-client.ts';
import { ControlCluster } from './control-cluster.ts';

const cart = 'spiffe://cluster.local/ns/shop/sa/cart';

describe('the process tulle-control', function () {
  this.timeout(120_000);
  let cluster: ControlCluster;

  before(async () => {
    cluster = await ControlCluster.start();
    await cluster.mesh({});
    await cluster.namespace('shop', 'cart');
    await cluster.pod({ name: 'cart-0', serviceAccount: 'cart', ip: '10.1.0.1' });
  });

  after(() => cluster?.stop());

  /** A node proxy that asks for the identity of a pod on its node. */
  async function ask(port: number) {
    const client = new CertificateClient(port, await cluster.roots());
    try {
      return await client.ask({ token: await cluster.proxyToken('proxy-node-1'), identity: cart });
    } finally {
      client.close();
    }
  }

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

  it('R37 is not hurt by a stranger whose compressed requests are small and unfold to millions of fields', async () => {
    // Less than the 256 MiB a container of it has; what the messages unfold to takes more.
    const env = { KUBECONFIG: cluster.api.kubeconfig, NODE_OPTIONS: '--max-old-space-size=192' };
    const { child, ended, line, lines } = start(env);
    await line('serving');
    const { grpcPort } = JSON.parse(lines.find((text) => text.includes('"serving"')) ?? '{}');
    const session = http2.connect(`https://127.0.0.1:${grpcPort}`, { rejectUnauthorized: false });
    // Field 15, a varint, 4 Mi times: two bytes each.
    const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024, Buffer.from([0x78, 0x01])));
    ok(bomb.length < 16_384);
    const head = Buffer.alloc(5);
    head.writeUInt8(1, 0);
    head.writeUInt32BE(bomb.length, 1);
    const call = () =>
      new Promise<string>((resolve) => {
        const request = session.request({
          ':method': 'POST',
          ':path': '/istio.v1.auth.IstioCertificateService/CreateCertificate',
          'content-type': 'application/grpc',
          'grpc-encoding': 'gzip',
          te: 'trailers',
        });
        let status = '';
        const note = (headers: http2.IncomingHttpHeaders) => {
          status = String(headers['grpc-status'] ?? status);
        };
        request.on('response', note).on('trailers', note);
        request.on('close', () => resolve(status)).on('error', (error) => resolve(error.message));
        request.resume();
        request.end(Buffer.concat([head, bomb]));
      });
    const answers = await Promise.all(Array.from({ length: 8 }, call));
    session.destroy();
    deepStrictEqual(new Set(answers), new Set([String(statusCodes.UNAUTHENTICATED)]));
    const { chain } = await ask(grpcPort);
    ok(chain, 'who is known is served');
    child.kill('SIGTERM');
    strictEqual(await ended, 0, lines.join('\n'));
  });

  it('ends with 1 and says why when its environment is wrong', async () => {
    const { ended, line } = start({ TULLE_GRPC_PORT: 'many' });
    await line('tulle-control cannot go on');
    strictEqual(await ended, 1);
  });
});
