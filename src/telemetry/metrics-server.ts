import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { registry as processRegistry, type Registry } from './metrics.ts';
import { Shares } from './shares.ts';

/** Whether a caller may read metrics; `Unknown` where nobody can tell now. */
export type Access = 'Allowed' | 'Unauthenticated' | 'Forbidden' | 'Unknown';

export interface MetricsServerOptions {
  readonly port: number;
  /** Decides about the bearer token of a caller at an address. */
  readonly authorize: (token: string, address: string) => Promise<Access>;
  readonly registry?: Registry;
  /** Called before each scrape, to set gauges that are read from elsewhere. */
  readonly beforeMetrics?: () => void;
}

/** PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

/** Connections of one address, and in all: a scraper has one. */
const limits = { each: 4, all: 64 };
/** A token of a service account is 1 to 8 kB. */
const maxHeaderSize = 16 * 1024;
const timeouts = { handshakeTimeout: 5_000, headersTimeout: 10_000, requestTimeout: 10_000 };

/**
 * `/metrics` over TLS, for callers with a token whom the API server lets read it, as other operators do. Handshakes fail until
 * there is a certificate.
 */
export class MetricsServer {
  readonly #server: Server;
  readonly #options: MetricsServerOptions;
  readonly #connections = new Shares(limits);

  constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#server = createServer({ ...timeouts, maxHeaderSize }, (request, response) => {
      const end = (status: number, text: string, type = 'text/plain; charset=utf-8') => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', connection: 'close' });
        response.end(text);
      };
      if (request.method !== 'GET') return end(405, 'only GET\n');
      if (request.url?.split('?')[0] !== '/metrics') return end(404, 'here is /metrics\n');
      const { authorization } = request.headers;
      this.#answer(authorization, request.socket.remoteAddress ?? '').then(
        ({ status, text, type }) => end(status, text, type),
        (error: unknown) => end(500, `${error}\n`),
      );
    });
    this.#server.on('connection', (socket: Socket) => this.#count(socket));
    this.#server.on('tlsClientError', (_, socket) => socket.destroy());
  }

  /** @throws when it cannot listen there */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port, () => {
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

  /** For handshakes from now on. */
  setCertificate({ certificate, privateKey }: KeyPair): void {
    this.#server.setSecureContext({ cert: certificate, key: privateKey });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(
    authorization: string | undefined,
    address: string,
  ): Promise<{ status: number; text: string; type?: string }> {
    const { authorize, beforeMetrics, registry = processRegistry } = this.#options;
    const token = /^bearer +([^ ]+)$/i.exec(authorization ?? '')?.[1];
    const access = token === undefined ? 'Unauthenticated' : await authorize(token, address);
    if (access !== 'Allowed') return refusals[access];
    beforeMetrics?.();
    return { status: 200, text: await registry.metrics(), type: registry.contentType };
  }

  #count(socket: Socket): void {
    const release = this.#connections.take(socket.remoteAddress ?? '');
    if (release === undefined) socket.destroy();
    else socket.once('close', release);
  }
}

const refusals = {
  Unauthenticated: { status: 401, text: 'Send the token of a service account: Authorization: Bearer TOKEN\n' },
  Forbidden: {
    status: 403,
    text: 'Your user may not "get" the path /metrics: bind the ClusterRole tulle-metrics-reader to it.\n',
  },
  Unknown: { status: 503, text: 'The API server does not say now who you are. Try again.\n' },
} as const;
