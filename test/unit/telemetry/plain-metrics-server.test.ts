import { match, rejects, strictEqual } from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { Gauge, Registry } from '../../../src/telemetry/metrics.ts';
import type { MetricsPort } from '../../../src/telemetry/metrics-port.ts';
import { plainMetricsServer } from '../../../src/telemetry/plain-metrics-server.ts';

describe('R20 metrics without TLS', () => {
  let server: MetricsPort;

  beforeEach(async () => {
    const registry = new Registry();
    const gauge = new Gauge({ name: 'tulle_test', help: 'h', registers: [registry] });
    server = plainMetricsServer(0, { registry, beforeMetrics: () => gauge.set(7) });
    await server.listen();
  });

  afterEach(() => server.close());

  function ask(path: string, method = 'GET', headers = {}): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const { port } = server;
      const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
        let text = '';
        response.on('data', (data) => (text += data));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      });
      asked.on('error', reject).end();
    });
  }

  it('are given without a token, and are all there is', async () => {
    const { status, text } = await ask('/metrics');
    strictEqual(status, 200);
    match(text, /tulle_test 7/);
    for (const path of ['/', '/readyz', '/metrics/', '/debug/pprof']) strictEqual((await ask(path)).status, 404);
    for (const method of ['POST', 'HEAD', 'DELETE']) strictEqual((await ask('/metrics', method)).status, 405);
  });

  it('are refused to a request that is too long', async () => {
    strictEqual((await ask('/metrics', 'GET', { 'x-long': 'a'.repeat(20_000) })).status, 431);
  });

  it('are given on a few connections of an address', async () => {
    const opened = () =>
      new Promise<ReturnType<typeof connect>>((resolve) => {
        const socket = connect(server.port ?? 0, '127.0.0.1', () => resolve(socket));
        socket.on('error', () => {});
      });
    const held = await Promise.all([1, 2, 3, 4].map(opened));
    await rejects(ask('/metrics'));
    for (const socket of held) socket.destroy();
  });
});
