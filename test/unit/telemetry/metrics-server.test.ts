import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { get } from 'node:https';
import { connect, type Socket } from 'node:net';
import { selfSigned } from '../../../src/ca/x509/self-signed.ts';
import { Gauge, Registry } from '../../../src/telemetry/metrics.ts';
import { type Access, MetricsServer } from '../../../src/telemetry/metrics-server.ts';

describe('R20 metrics over TLS', () => {
  let server: MetricsServer;
  let port: number;
  const asked: string[] = [];
  let access: Access;

  beforeEach(async () => {
    access = 'Allowed';
    asked.length = 0;
    const registry = new Registry();
    const gauge = new Gauge({ name: 'tulle_test', help: 'h', registers: [registry] });
    server = new MetricsServer({
      port: 0,
      registry,
      beforeMetrics: () => gauge.set(7),
      authorize: async (token) => {
        asked.push(token);
        return access;
      },
    });
    server.setCertificate(selfSigned('tulle-operator', Date.now()));
    await server.listen();
    port = server.port ?? 0;
  });

  afterEach(() => server.close());

  function ask(path: string, authorization?: string, method = 'GET'): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = authorization === undefined ? {} : { authorization };
      // A scraper does not verify a certificate that nobody it knows has signed.
      get({ host: '127.0.0.1', port, path, method, headers, rejectUnauthorized: false, agent: false }, (response) => {
        let text = '';
        response.on('data', (data) => (text += data));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      }).on('error', reject);
    });
  }

  it('are for a token that may read them', async () => {
    const { status, text } = await ask('/metrics', 'Bearer a.b.c');
    strictEqual(status, 200);
    ok(text.includes('tulle_test 7'));
    deepStrictEqual(asked, ['a.b.c']);
  });

  it('are for nobody else', async () => {
    for (const [refused, status] of [
      ['Unauthenticated', 401],
      ['Forbidden', 403],
      ['Unknown', 503],
    ] as const) {
      access = refused;
      strictEqual((await ask('/metrics', 'Bearer a.b.c')).status, status);
    }
  });

  it('need a token, and one only', async () => {
    for (const header of [undefined, '', 'Basic YTpi', 'Bearer', 'Bearer a b', 'Bearer a, Bearer b']) {
      strictEqual((await ask('/metrics', header)).status, 401, header);
    }
    deepStrictEqual(asked, []);
  });

  it('are all there is', async () => {
    for (const path of ['/', '/readyz', '/metrics/', '/debug/pprof'])
      strictEqual((await ask(path, 'Bearer a')).status, 404);
    for (const method of ['POST', 'HEAD', 'DELETE'])
      strictEqual((await ask('/metrics', 'Bearer a', method)).status, 405);
  });

  it('are given while another holds all the connections an address may have', async () => {
    const held = await Promise.all([1, 2, 3].map(() => opened('127.0.0.1')));
    strictEqual((await ask('/metrics', 'Bearer a')).status, 200);
    held.push(await opened('127.0.0.1'));
    const refused = await opened('127.0.0.1');
    await new Promise((resolve) => refused.once('close', resolve));
    const other = await opened('127.0.0.1', '127.0.0.2');
    strictEqual(other.destroyed, false, 'another address has connections of its own');
    for (const socket of [...held, other]) socket.destroy();
  });

  function opened(host: string, localAddress?: string): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) }, () =>
        resolve(socket),
      );
      socket.on('error', (error) => ('code' in error && error.code === 'ECONNRESET' ? undefined : reject(error)));
    });
  }
});
