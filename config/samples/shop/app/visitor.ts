import { randomUUID } from 'node:crypto';
import { CATALOGUE, MAX_QUANTITY, parseQuantities } from './catalogue.ts';
import type { HttpClient } from './http-client.ts';
import type { HttpAnswer, HttpCall } from './http-server.ts';
import { log } from './log.ts';
import { VisitRecord } from './visit-record.ts';

export interface VisitorOptions {
  readonly webUrl: string;
  /** A visit is two requests: put an article in a cart, read the cart back. */
  readonly visitsPerSecond: number;
  /** Visits take turns between these clients: one keeps its connections, one opens a new one for each request. */
  readonly clients: readonly [keeping: HttpClient, fresh: HttpClient];
}

const MAX_VISITS_AT_ONCE = 100;
const LOG_EVERY_MS = 10_000;

/** A steady visitor: starts a visit on every tick, whether or not earlier ones are done, and counts how they end. */
export class Visitor {
  readonly #options: VisitorOptions;
  readonly #record = new VisitRecord();
  readonly #articles = Object.keys(CATALOGUE);
  /** Keeps the carts of this run apart from those of an earlier one that Redis still holds. */
  readonly #run = randomUUID().slice(0, 8);
  #visits = 0;
  #atOnce = 0;
  #timers: NodeJS.Timeout[] = [];

  constructor(options: VisitorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timers = [
      setInterval(() => void this.visit(), 1000 / this.#options.visitsPerSecond),
      setInterval(() => log('visits', { ...this.stats() }), LOG_EVERY_MS),
    ];
  }

  /** Starts no more visits. */
  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** One whole visit, counted; never rejects. */
  async visit(): Promise<void> {
    const number = this.#visits++;
    const begun = new Date();
    if (this.#atOnce >= MAX_VISITS_AT_ONCE) {
      this.#failed(begun, `visit ${number} not begun: ${MAX_VISITS_AT_ONCE} others are still waiting for the shop`);
      return;
    }
    this.#atOnce += 1;
    try {
      await this.#shop(number);
      this.#record.succeeded(new Date());
    } catch (err) {
      this.#failed(begun, `visit ${number}: ${err instanceof Error ? err.message : String(err)}`);
    } finally {
      this.#atOnce -= 1;
    }
  }

  stats() {
    const [keeping, fresh] = this.#options.clients;
    return { ...this.#record.counts(), keptConnections: keeping.counts, newConnections: fresh.counts };
  }

  /** Serves `/stats`; ready once a visit has succeeded. */
  readonly handle = ({ path }: HttpCall): HttpAnswer => {
    if (path[0] === 'stats') return { status: 200, body: this.stats() };
    if (path[0] === 'healthz') return { status: 200, body: {} };
    if (path[0] === 'readyz') return { status: this.#record.started ? 200 : 503, body: {} };
    return { status: 404, body: { error: 'no such page' } };
  };

  /** Puts a number of one article in a cart of its own, reads the cart back and compares; throws when anything differs. */
  async #shop(number: number): Promise<void> {
    const [keeping, fresh] = this.#options.clients;
    const client = number % 2 === 0 ? keeping : fresh;
    const article = this.#articles[number % this.#articles.length] ?? 'tea-01';
    const quantity = (number % MAX_QUANTITY) + 1;
    const cart = `${this.#options.webUrl}/api/carts/visit-${this.#run}-${number}`;
    const put = await client.request('PUT', `${cart}/lines/${article}`, { quantity });
    if (put.status !== 200) throw new Error(`PUT ${cart}: status ${put.status}: ${put.body.slice(0, 300)}`);
    const get = await client.request('GET', cart);
    if (get.status !== 200) throw new Error(`GET ${cart}: status ${get.status}: ${get.body.slice(0, 300)}`);
    const found = parseQuantities(get.body);
    if (Object.keys(found).length !== 1 || found[article] !== quantity) {
      throw new Error(`GET ${cart}: put ${quantity} of ${article}, found ${get.body.slice(0, 300)}`);
    }
  }

  #failed(begun: Date, text: string): void {
    this.#record.failed(begun, new Date(), text);
    if (this.#record.started) log('visit failed', { text });
  }
}
