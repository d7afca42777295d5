import type { IncomingMessage, RequestListener, Server } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { Shares } from '../limits/shares.ts';
import { registry as processRegistry, type Registry } from './metrics.ts';

/** Connections of one address, and in all: a scraper has one. */
const connectionLimits = { each: 4, all: 64 };

/** Options of the HTTP server behind a MetricsPort. A token of a service account is 1 to 8 kB. */
export const requestLimits = { headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 16 * 1024 };

/** What is served. */
export interface MetricsPage {
  /** The process's, where none is given. */
  readonly registry?: Registry;
  /** Called before each scrape, to set gauges that are read from elsewhere. */
  readonly beforeMetrics?: () => void;
}

export interface Refusal {
  readonly status: number;
  /** What is missing, in a sentence. */
  readonly text: string;
}

/** Answers GET /metrics, and nothing else, to callers that `refuse` has nothing against. */
export function answerMetrics(
  { registry = processRegistry, beforeMetrics }: MetricsPage,
  refuse: (request: IncomingMessage) => Promise<Refusal | undefined>,
): RequestListener {
  return (request, response) => {
    const end = (status: number, text: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', connection: 'close' });
      response.end(text);
    };
    if (request.method !== 'GET') return end(405, 'only GET\n');
    if (request.url?.split('?')[0] !== '/metrics') return end(404, 'here is /metrics\n');
    const answer = async () => {
      const refusal = await refuse(request);
      if (refusal !== undefined) return end(refusal.status, refusal.text);
      beforeMetrics?.();
      end(200, await registry.metrics(), registry.contentType);
    };
    answer().catch((error: unknown) => end(500, `${error}\n`));
  };
}

/** A port on every address of the machine, with so many connections at once. */
export class MetricsPort {
  readonly #server: Server | TlsServer;
  readonly #asked: number;
  readonly #connections = new Shares(connectionLimits);

  /** @param port 0 for a free one */
  constructor(server: Server | TlsServer, port: number) {
    this.#server = server;
    this.#asked = port;
    server.on('connection', (socket: Socket) => this.#count(socket));
  }

  /** @throws when it cannot listen there */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#asked, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /** The port in use, undefined until it listens. */
  get port(): number | undefined {
    const address: AddressInfo | string | null = this.#server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #count(socket: Socket): void {
    const release = this.#connections.take(socket.remoteAddress ?? '');
    if (release === undefined) socket.destroy();
    else socket.once('close', release);
  }
}
