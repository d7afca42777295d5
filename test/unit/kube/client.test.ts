import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { KubeConfig } from '@kubernetes/client-node';
import { ApiError, isNotFound, KubeClient } from '../../../src/kube/client/client.ts';

describe('the client', () => {
  let server: Server;
  let client: KubeClient;
  let answer: (request: IncomingMessage, body: string, response: ServerResponse) => void;
  let requests: { method?: string; url?: string; type?: string; authorization?: string; body: string }[];
  let connections: number;

  beforeEach(async () => {
    requests = [];
    connections = 0;
    answer = (_request, _body, response) => response.end('{}');
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const { 'content-type': type = '', authorization = '' } = headers;
        requests.push({ method, url, type, authorization, body });
        answer(request, body, response);
      });
    });
    server.on('connection', () => {
      connections += 1;
    });
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => {
        const address = server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [{ name: 'c', server: `http://127.0.0.1:${port}/prefix/`, skipTLSVerify: true }],
      users: [{ name: 'u', token: 'secret-token' }],
      contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
      currentContext: 'x',
    });
    client = new KubeClient(config);
  });

  afterEach(async () => {
    await client.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('sends its credentials, and does not connect anew for each call', async () => {
    for (let i = 0; i < 20; i += 1) await client.get('/api/v1/nodes/a');
    assert.ok(connections <= 2, `${connections} connections`);
    assert.equal(requests[0]?.authorization, 'Bearer secret-token');
    assert.equal(requests[0]?.url, '/prefix/api/v1/nodes/a');
  });

  it('throws what the API server refuses with, and never the token', async () => {
    answer = (_request, _body, response) => {
      const status = {
        kind: 'Status',
        code: 409,
        reason: 'Conflict',
        message: 'modified',
        details: { causes: [{ reason: 'Stale' }] },
      };
      response.writeHead(409, { 'retry-after': '3' }).end(JSON.stringify(status));
    };
    await assert.rejects(client.get('/api/v1/nodes/a'), (error) => {
      assert.ok(error instanceof ApiError);
      assert.deepEqual([error.status, error.reason, error.path], [409, 'Conflict', 'GET /api/v1/nodes/a']);
      assert.deepEqual([error.retryAfterMs, error.causes], [3_000, ['Stale']]);
      return !JSON.stringify({ ...error, message: error.message, stack: error.stack }).includes('secret-token');
    });
  });

  it("throws an ApiError too for an answer that is not an API server's", async () => {
    answer = (_request, _body, response) => response.writeHead(502).end('<html>Bad Gateway</html>');
    await assert.rejects(
      client.get('/x'),
      (error) => error instanceof ApiError && error.status === 502 && /Bad Gateway/.test(error.message),
    );
  });

  it('finds nothing where there is nothing, and throws other refusals', async () => {
    answer = (_request, _body, response) =>
      response.writeHead(404).end('{"kind":"Status","code":404,"reason":"NotFound"}');
    assert.equal(await client.find('/x'), undefined);
    await assert.rejects(client.get('/x'), isNotFound);
    answer = (_request, _body, response) =>
      response.writeHead(403).end('{"kind":"Status","code":403,"reason":"Forbidden"}');
    await assert.rejects(client.find('/x'), /Forbidden/);
  });

  it('asks page by page, and gives items the kind of their list', async () => {
    answer = ({ url = '' }, _body, response) => {
      const second = url.includes('continue=t1');
      const metadata = { resourceVersion: '7', continue: second ? '' : 't1' };
      const items = [{ metadata: { name: second ? 'b' : 'a' } }];
      response.end(JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata, items }));
    };
    const pods = await client.listAll('/api/v1/pods', { labelSelector: 'a=b' });
    assert.deepEqual(
      pods.map(({ kind, apiVersion, metadata }) => [kind, apiVersion, metadata.name]),
      [
        ['Pod', 'v1', 'a'],
        ['Pod', 'v1', 'b'],
      ],
    );
    assert.match(requests[1]?.url ?? '', /limit=500&labelSelector=a%3Db&continue=t1$/);
  });

  it('takes null for an empty list', async () => {
    answer = (_request, _body, response) =>
      response.end('{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":null}');
    assert.deepEqual((await client.list('/api/v1/pods')).items, []);
  });

  it('applies by kind, through discovery that is asked once', async () => {
    answer = ({ url = '' }, _body, response) => {
      const resources = [
        { name: 'widgets', kind: 'Widget', namespaced: true },
        { name: 'widgets/status', kind: 'Widget', namespaced: true },
      ];
      response.end(url.endsWith('/apis/example.org/v1') ? JSON.stringify({ resources }) : '{}');
    };
    const widget = { apiVersion: 'example.org/v1', kind: 'Widget', metadata: { name: 'w', namespace: 'shop' } };
    await client.apply(widget, { fieldManager: 'me', force: true });
    await client.applyStatus(widget, { fieldManager: 'me', dryRun: true });
    assert.deepEqual(
      requests.map(({ method, url }) => `${method} ${url}`),
      [
        'GET /prefix/apis/example.org/v1',
        'PATCH /prefix/apis/example.org/v1/namespaces/shop/widgets/w?fieldManager=me&force=true',
        'PATCH /prefix/apis/example.org/v1/namespaces/shop/widgets/w/status?fieldManager=me&force=false&dryRun=All',
      ],
    );
    assert.equal(requests[1]?.type, 'application/apply-patch+yaml');
    await assert.rejects(
      client.apply({ ...widget, kind: 'Gadget' }, { fieldManager: 'me' }),
      /does not know the kind Gadget/,
    );
  });

  it('sends arrays as JSON patches and objects as merge patches', async () => {
    await client.patch('/x', [{ op: 'remove', path: '/a' }]);
    await client.patch('/x', { a: null });
    assert.deepEqual(
      requests.map(({ type }) => type),
      ['application/json-patch+json', 'application/merge-patch+json'],
    );
  });

  it('leaves alone what is gone, or is another object by now, when asked to', async () => {
    const refuse = (status: number, reason: string) => {
      answer = (_request, _body, response) =>
        response.writeHead(status).end(JSON.stringify({ kind: 'Status', code: status, reason }));
    };
    refuse(404, 'NotFound');
    await client.deleteIfThere('/x');
    refuse(409, 'Conflict');
    await client.deleteIfThere('/x', { preconditions: { uid: 'u' } });
    await assert.rejects(client.deleteIfThere('/x'), /Conflict/);
    refuse(403, 'Forbidden');
    await assert.rejects(client.deleteIfThere('/x', { preconditions: { uid: 'u' } }), /Forbidden/);
  });

  for (const how of ['aborts', 'is left'] as const) {
    it(`lets go of its connection when a watch ${how}`, async () => {
      const stop = new AbortController();
      const closed = Promise.withResolvers<void>();
      answer = (request, _body, response) => {
        request.socket.on('close', () => closed.resolve());
        response.write('{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n');
      };
      const seen: string[] = [];
      const follow = async () => {
        for await (const { object } of client.watch('/api/v1/pods', {}, stop.signal)) {
          seen.push(object.metadata.name);
          if (how === 'is left') return;
          stop.abort();
        }
      };
      if (how === 'is left') await follow();
      else await assert.rejects(follow);
      await closed.promise;
      assert.deepEqual(seen, ['a']);
      assert.match(requests[0]?.url ?? '', /watch=true/);
    });
  }
});
