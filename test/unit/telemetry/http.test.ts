import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { serveTelemetry, type TelemetryServer } from '../../../src/telemetry/http.ts';
import { Gauge, Registry } from '../../../src/telemetry/metrics.ts';

describe('health and metrics over HTTP', () => {
  let server: TelemetryServer;
  let problem: string | undefined;
  let isLocal: boolean;
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };

  /** A request as it is written, without a client that puts its target right; undefined when there is no answer. */
  const raw = (method: string, path: string, headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1');
      const lines = Object.entries({ host: 'x', connection: 'close', ...headers }).map(
        ([name, value]) => `${name}: ${value}`,
      );
      let answer = '';
      socket.on('error', reject);
      socket.on('data', (data) => (answer += data));
      socket.on('close', () => resolve(answer === '' ? undefined : Number(answer.split(' ')[1])));
      socket.write([`${method} ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
    });

  beforeEach(async () => {
    problem = 'waiting for pods';
    isLocal = true;
    const registry = new Registry();
    const gauge = new Gauge({ name: 'tulle_test', help: 'h', registers: [registry] });
    server = await serveTelemetry({
      port: 0,
      host: '127.0.0.1',
      registry,
      ready: { caches: () => problem, server: () => undefined },
      beforeMetrics: () => gauge.set(7),
      isLocal: () => isLocal,
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

  it('R20 tells others than its own pod no more than yes or no, and no metrics', async () => {
    isLocal = false;
    assert.deepEqual(await get('/readyz'), { status: 503, text: 'failed\n' });
    problem = undefined;
    assert.deepEqual(await get('/readyz'), { status: 200, text: 'ok\n' });
    const { status, text } = await get('/metrics');
    assert.equal(status, 403);
    assert.match(text, /TLS/);
  });

  it('R20 has no path for debugging, profiling, configuration or files', async () => {
    const others = [
      '/',
      '/debug/pprof',
      '/debug/vars',
      '/config_dump',
      '/logging',
      '/quitquitquit',
      '/json/list',
      '/metrics/',
      '//metrics',
      '/metrics/../readyz',
      '/metrics%00',
      '/etc/passwd',
      '/.%2e/%2e%2e/etc/passwd',
    ];
    for (const path of others) assert.equal(await raw('GET', path), 404, path);
  });

  it('R20 changes nothing, whatever the method', async () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']) {
      for (const path of ['/metrics', '/healthz', '/readyz']) assert.equal(await raw(method, path), 405, method);
    }
  });

  it('R20 fetches no address that a caller names, and is no proxy to one', async () => {
    let visits = 0;
    const victim = createServer(() => visits++);
    victim.on('connection', () => visits++);
    await new Promise<void>((resolve) => victim.listen(0, '127.0.0.1', resolve));
    const address = victim.address();
    const authority = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    const url = `http://${authority}/latest/meta-data`;
    assert.equal(await raw('GET', url), 404);
    assert.equal(await raw('GET', `/probe?target=${url}`), 404);
    assert.equal(
      await raw('GET', `/metrics?target=${url}`, { host: authority, referer: url, forwarded: authority }),
      200,
    );
    assert.equal(await raw('CONNECT', authority), undefined, 'the connection is closed without an answer');
    await new Promise((resolve) => victim.close(resolve));
    assert.equal(visits, 0);
  });

  it('fails to start on a port that is taken', async () => {
    await assert.rejects(serveTelemetry({ port: server.port, host: '127.0.0.1' }), /EADDRINUSE/);
  });
});
