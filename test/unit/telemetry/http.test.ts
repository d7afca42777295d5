import assert from 'node:assert/strict';
import { serveTelemetry, type TelemetryServer } from '../../../src/telemetry/http.ts';
import { Gauge, Registry } from '../../../src/telemetry/metrics.ts';

describe('health and metrics over HTTP', () => {
  let server: TelemetryServer;
  let problem: string | undefined;
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };

  beforeEach(async () => {
    problem = 'waiting for pods';
    const registry = new Registry();
    const gauge = new Gauge({ name: 'tulle_test', help: 'h', registers: [registry] });
    server = await serveTelemetry({
      port: 0,
      host: '127.0.0.1',
      registry,
      ready: { caches: () => problem, server: () => undefined },
      beforeMetrics: () => gauge.set(7),
    });
  });

  afterEach(() => server.close());

  it('is ready when every check is, and says which is not', async () => {
    assert.deepEqual(await get('/readyz'), { status: 503, text: 'caches: waiting for pods\nserver: ok\n' });
    problem = undefined;
    assert.equal((await get('/readyz')).status, 200);
  });

  it('leaves out a check that a probe excludes by name, and no other', async () => {
    assert.deepEqual(await get('/readyz?exclude=caches'), { status: 200, text: 'server: ok\n' });
    assert.equal((await get('/readyz?exclude=server')).status, 503);
  });

  it('is alive without a check that says otherwise', async () => {
    assert.deepEqual(await get('/healthz'), { status: 200, text: 'ok\n' });
  });

  it('serves metrics read at the time', async () => {
    assert.match((await get('/metrics')).text, /tulle_test 7/);
  });

  it('R20 serves nothing else, and changes nothing', async () => {
    assert.equal((await get('/debug/pprof')).status, 404);
    assert.equal((await get('/metrics', 'POST')).status, 405);
  });

  it('fails to start on a port that is taken', async () => {
    await assert.rejects(serveTelemetry({ port: server.port, host: '127.0.0.1' }), /EADDRINUSE/);
  });
});
