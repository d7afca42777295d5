import { cartService } from './cart.ts';
import { CartStore } from './cart-store.ts';
import { HttpClient } from './http-client.ts';
import { serveHttp } from './http-server.ts';
import { log } from './log.ts';
import { Visitor } from './visitor.ts';
import { webFront } from './web.ts';

const PORT = Number(process.env.PORT ?? 8080);
const REDIS_URL = process.env.REDIS_URL ?? 'redis://redis:6379';
const CART_URL = process.env.CART_URL ?? 'http://cart:8080';
const WEB_URL = process.env.WEB_URL ?? 'http://web:8080';
const VISITS_PER_SECOND = Number(process.env.VISITS_PER_SECOND ?? 10);
/** Short, so that each replica soon gets its share of the calls of every other. */
const CONNECTION_AGE_MS = 1000;

/** The parts of the shop, by the program's first argument. */
const parts: Readonly<Record<string, () => Promise<void>>> = {
  web: async () => {
    const client = newClient({ keepAlive: true, timeoutMs: 8000 });
    const server = await serveHttp(PORT, webFront(CART_URL, client));
    onTerm(async () => {
      await server.close();
      client.close();
    });
  },
  cart: async () => {
    const store = new CartStore(REDIS_URL);
    const server = await serveHttp(PORT, cartService(store));
    onTerm(async () => {
      await server.close();
      await store.close();
    });
  },
  visitor: async () => {
    const clients = [
      newClient({ keepAlive: true, timeoutMs: 10_000 }),
      newClient({ keepAlive: false, timeoutMs: 10_000 }),
    ] as const;
    const visitor = new Visitor({ webUrl: WEB_URL, visitsPerSecond: VISITS_PER_SECOND, clients });
    const server = await serveHttp(PORT, visitor.handle);
    visitor.start();
    onTerm(async () => {
      visitor.stop();
      await server.close();
      for (const client of clients) client.close();
    });
  },
  /** Prints the counts of the part that runs in the same container. */
  stats: async () => {
    const reply = await newClient({ keepAlive: false, timeoutMs: 5000 }).request(
      'GET',
      `http://127.0.0.1:${PORT}/stats`,
    );
    console.log(reply.body);
  },
};

function newClient(options: { keepAlive: boolean; timeoutMs: number }): HttpClient {
  return new HttpClient({ ...options, maxConnectionAgeMs: CONNECTION_AGE_MS });
}

/** Runs `stop` on SIGTERM or SIGINT; the process ends when nothing is left to do. */
function onTerm(stop: () => Promise<void>): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log('stopping', { signal });
      stop().then(
        () => log('stopped'),
        (err: unknown) => log('did not stop cleanly', { err: String(err) }),
      );
    });
  }
}

const name = process.argv[2] ?? '';
const part = Object.hasOwn(parts, name) ? parts[name] : undefined;
if (part === undefined) {
  console.error(`usage: shop ${Object.keys(parts).join('|')}`);
  process.exit(2);
}
await part();
