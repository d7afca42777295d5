import { createClient, ErrorReply } from 'redis';
import type { Quantities } from './catalogue.ts';
import { log } from './log.ts';

/** A cart that nobody touches is forgotten after this long. */
const CART_TTL_SECONDS = 600;
/** With no byte from Redis for this long, although pinged, the connection counts as dead. */
const SILENCE_MS = 5000;
const PING_MS = 2000;

/**
 * The carts in Redis, over one long-lived connection per process. When the connection is cut, new commands wait until
 * it is there again; commands that were on their way are sent once more, which is safe because each of them sets or
 * reads a value and never adds to one.
 */
export class CartStore {
  readonly counts = { connections: 0, commandsRetried: 0 };
  readonly #client: RedisConnection;

  /** Begins to connect to Redis at `url` and goes on trying for ever; commands wait until it is there. */
  constructor(url: string) {
    this.#client = newConnection(url);
    this.#client.on('connect', () => {
      this.counts.connections += 1;
      log('redis connected', { connections: this.counts.connections });
    });
    this.#client.on('error', (err: unknown) => log('redis connection lost', { err: String(err) }));
    this.#client.connect().catch(() => {}); // rejects only when close() comes before the first connection
  }

  /** True while the connection stands. */
  get ready(): boolean {
    return this.#client.isReady;
  }

  async setLine(cart: string, article: string, quantity: number): Promise<void> {
    const key = keyOf(cart);
    await this.#idempotent(() =>
      this.#client.multi().hSet(key, article, quantity).expire(key, CART_TTL_SECONDS).exec(),
    );
  }

  /** The cart's quantities; an unknown cart is an empty one. */
  async read(cart: string): Promise<Quantities> {
    const fields = await this.#idempotent(() => this.#client.hGetAll(keyOf(cart)));
    return Object.fromEntries(Object.entries(fields).map(([article, quantity]) => [article, Number(quantity)]));
  }

  /** Lets the commands in hand finish, then ends the connection. */
  async close(): Promise<void> {
    await this.#client.close();
  }

  /** Runs a command, and once more if its connection broke; an error that Redis itself answers is final. */
  async #idempotent<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (err) {
      if (err instanceof ErrorReply) throw err;
      this.counts.commandsRetried += 1;
      return await command();
    }
  }
}

type RedisConnection = ReturnType<typeof newConnection>;

function newConnection(url: string) {
  return createClient({
    url,
    pingInterval: PING_MS,
    commandsQueueMaxLength: 10_000,
    socket: {
      connectTimeout: 2000,
      socketTimeout: SILENCE_MS,
      // At once the first time: a cut is mostly a single event. Then slower, with jitter, for ever.
      reconnectStrategy: (retries) =>
        Math.min(retries * 50, 1000) + Math.floor(Math.random() * 50) * Math.min(retries, 1),
    },
  });
}

function keyOf(cart: string): string {
  return `cart:${cart}`;
}
