import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

/** A little Redis for tests of what a client does when its connection breaks. */
export interface FakeRedis {
  readonly url: string;
  /** Every command received, its name and arguments joined by spaces. */
  readonly received: string[];
  /** Connections accepted so far. */
  connections: number;
  /** Cuts the connection instead of answering the next commands of this name, as often as said. */
  cutOn(name: string, times: number): void;
  /** Answers the next command of this name with an error. */
  failOn(name: string): void;
  close(): Promise<void>;
}

/** Starts one on a free port of the loopback address. It speaks RESP 3 and knows HSET and HGETALL on one hash per key. */
export async function startFakeRedis(): Promise<FakeRedis> {
  const hashes = new Map<string, Map<string, string>>();
  const cuts = new Map<string, number>();
  const failures = new Set<string>();
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    redis.connections += 1;
    open.add(socket);
    let pending = '';
    let queued: string[] | undefined;
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString();
      for (;;) {
        const command = takeCommand(pending);
        if (command === undefined) return;
        pending = command.rest;
        redis.received.push(command.words.join(' '));
        const name = (command.words[0] ?? '').toUpperCase();
        const cutsLeft = cuts.get(name) ?? 0;
        if (cutsLeft > 0) {
          cuts.set(name, cutsLeft - 1);
          socket.resetAndDestroy();
          return;
        }
        if (name === 'MULTI') {
          queued = [];
          socket.write('+OK\r\n');
        } else if (name === 'EXEC') {
          socket.write(`*${queued?.length ?? 0}\r\n${(queued ?? []).join('')}`);
          queued = undefined;
        } else {
          const answer = failures.delete(name) ? '-ERR not today\r\n' : answerTo(hashes, command.words);
          if (queued === undefined) socket.write(answer);
          else {
            queued.push(answer);
            socket.write('+QUEUED\r\n');
          }
        }
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const redis: FakeRedis = {
    url: `redis://127.0.0.1:${port}`,
    received: [],
    connections: 0,
    cutOn: (name, times) => cuts.set(name, times),
    failOn: (name) => failures.add(name),
    close: async () => {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return redis;
}

function answerTo(hashes: Map<string, Map<string, string>>, [name = '', key = '', ...rest]: string[]): string {
  switch (name.toUpperCase()) {
    case 'HSET': {
      const hash = hashes.get(key) ?? new Map<string, string>();
      hash.set(rest[0] ?? '', rest[1] ?? '');
      hashes.set(key, hash);
      return ':1\r\n';
    }
    case 'HGETALL': {
      const flat = [...(hashes.get(key) ?? [])].flat();
      return `%${flat.length / 2}\r\n${flat.map((text) => `$${text.length}\r\n${text}\r\n`).join('')}`;
    }
    case 'HELLO':
      return '%1\r\n+proto\r\n:3\r\n';
    case 'EXPIRE':
      return ':1\r\n';
    default:
      return '+OK\r\n';
  }
}

/** Takes one RESP array of bulk strings off the front; undefined while it is not whole. */
function takeCommand(text: string): { words: string[]; rest: string } | undefined {
  const lines = text.split('\r\n');
  const count = Number(lines[0]?.slice(1));
  if (!text.startsWith('*') || lines.length < 2 + 2 * count) return undefined;
  const words = Array.from({ length: count }, (_, i) => lines[2 + 2 * i] ?? '');
  return { words, rest: lines.slice(1 + 2 * count).join('\r\n') };
}
