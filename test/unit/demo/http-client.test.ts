import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { HttpClient } from '../../../config/samples/shop/app/http-client.ts';

/** What the server does with the nth request on a connection, both counted from 1. */
type Behaviour = (connection: number, request: number, socket: Socket) => void;

const answer = (socket: Socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
const cut = (socket: Socket) => void socket.resetAndDestroy();

describe('the HTTP client of the shop', () => {
  let server: Server;
  let url: string;
  let behave: Behaviour;
  let requests: string[];

  beforeEach(async () => {
    let connections = 0;
    requests = [];
    server = createServer((socket) => {
      const connection = ++connections;
      let count = 0;
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) => {
        requests.push(chunk.toString());
        behave(connection, ++count, socket);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    url = `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/`;
  });

  afterEach(async () => {
    server.close();
    await once(server, 'close');
  });

  const withClient = async (options: object, use: (client: HttpClient) => Promise<void>) => {
    const client = new HttpClient({ keepAlive: true, maxConnectionAgeMs: 60_000, timeoutMs: 5000, ...options });
    try {
      await use(client);
    } finally {
      client.close();
    }
  };

  it('keeps a connection for later requests', () =>
    withClient({}, async (client) => {
      behave = (_connection, _request, socket) => answer(socket);
      for (let i = 0; i < 3; i += 1) assert.deepEqual(await client.request('GET', url), { status: 200, body: 'ok' });
      assert.deepEqual(client.counts, {
        requests: 3,
        connectionsOpened: 1,
        connectionsReused: 2,
        retriesOnStaleConnection: 0,
      });
    }));

  it('lets a connection go that has grown old', () =>
    withClient({ maxConnectionAgeMs: 0 }, async (client) => {
      behave = (_connection, _request, socket) => answer(socket);
      for (let i = 0; i < 3; i += 1) await client.request('GET', url);
      assert.equal(client.counts.connectionsOpened, 3);
    }));

  it('opens a connection for each request when told to keep none', () =>
    withClient({ keepAlive: false }, async (client) => {
      behave = (_connection, _request, socket) => {
        answer(socket);
        socket.end();
      };
      for (let i = 0; i < 3; i += 1) await client.request('GET', url);
      assert.equal(client.counts.connectionsOpened, 3);
      assert.match(requests[0] ?? '', /connection: close/i);
    }));

  it('sends a request again, body and all, when the kept connection is cut under it', () =>
    withClient({}, async (client) => {
      behave = (_connection, request, socket) => (request === 1 ? answer(socket) : cut(socket));
      await client.request('GET', url);
      assert.equal((await client.request('PUT', url, { quantity: 3 })).status, 200);
      assert.match(requests.at(-1) ?? '', /^PUT \/ [\s\S]*\{"quantity":3\}$/);
      assert.equal(client.counts.retriesOnStaleConnection, 1);
    }));

  it('does so too when the reply had begun', () =>
    withClient({}, async (client) => {
      behave = (_connection, request, socket) => {
        if (request === 1) answer(socket);
        else socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no');
      };
      await client.request('GET', url);
      assert.deepEqual(await client.request('GET', url), { status: 200, body: 'ok' });
    }));

  it('does not hide a request that fails on a new connection', () =>
    withClient({}, async (client) => {
      behave = (_connection, _request, socket) => cut(socket);
      await assert.rejects(client.request('GET', url), /^Error: GET http.*(ECONNRESET|socket hang up)/);
      assert.equal(requests.length, 1);
    }));

  it('does not hide a request that fails a second time', () =>
    withClient({}, async (client) => {
      behave = (connection, request, socket) => (connection === 1 && request === 1 ? answer(socket) : cut(socket));
      await client.request('GET', url);
      await assert.rejects(client.request('GET', url), /ECONNRESET|socket hang up/);
      assert.equal(requests.length, 3);
    }));

  it('fails, and does not try again, when no reply comes in time', () =>
    withClient({ timeoutMs: 100 }, async (client) => {
      behave = (_connection, request, socket) => {
        if (request === 1) answer(socket);
      };
      await client.request('GET', url);
      await assert.rejects(client.request('GET', url), /abort|timeout/i);
      assert.equal(requests.length, 2);
      assert.equal(client.counts.retriesOnStaleConnection, 0);
    }));

  it('gives back replies of any status', () =>
    withClient({}, async (client) => {
      behave = (_connection, _request, socket) =>
        void socket.write('HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy');
      assert.deepEqual(await client.request('GET', url), { status: 503, body: 'busy' });
    }));
});
