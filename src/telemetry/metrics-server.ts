import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import { answerMetrics, type MetricsPage, MetricsPort, type Refusal, requestLimits } from './metrics-port.ts';

/** Whether a caller may read metrics; `Unknown` where nobody can tell now. */
export type Access = 'Allowed' | 'Unauthenticated' | 'Forbidden' | 'Unknown';

/** Decides about the bearer token of a caller at an address. */
export type Authorize = (token: string, address: string) => Promise<Access>;

export interface MetricsServerOptions extends MetricsPage {
  readonly port: number;
  readonly authorize: Authorize;
}

/** PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

const handshakeTimeout = 5_000;

/**
 * `/metrics` over TLS, for callers with a token whom the API server lets read it, as other operators do. Handshakes fail until
 * there is a certificate.
 */
export class MetricsServer {
  readonly #server: Server;
  readonly #port: MetricsPort;

  constructor({ port, authorize, ...page }: MetricsServerOptions) {
    this.#server = createServer(
      { ...requestLimits, handshakeTimeout },
      answerMetrics(page, (request) => refusalOf(request, authorize)),
    );
    this.#server.on('tlsClientError', (_, socket) => socket.destroy());
    this.#port = new MetricsPort(this.#server, port);
  }

  /** @throws when it cannot listen there */
  listen(): Promise<void> {
    return this.#port.listen();
  }

  /** The port in use, undefined until it listens. */
  get port(): number | undefined {
    return this.#port.port;
  }

  /** For handshakes from now on. */
  setCertificate({ certificate, privateKey }: KeyPair): void {
    this.#server.setSecureContext({ cert: certificate, key: privateKey });
  }

  close(): Promise<void> {
    return this.#port.close();
  }
}

async function refusalOf({ headers, socket }: IncomingMessage, authorize: Authorize): Promise<Refusal | undefined> {
  const token = /^bearer +([^ ]+)$/i.exec(headers.authorization ?? '')?.[1];
  const access = token === undefined ? 'Unauthenticated' : await authorize(token, socket.remoteAddress ?? '');
  return access === 'Allowed' ? undefined : refusals[access];
}

const refusals = {
  Unauthenticated: { status: 401, text: 'Send the token of a service account: Authorization: Bearer TOKEN\n' },
  Forbidden: {
    status: 403,
    text: 'Your user may not "get" the path /metrics: bind the ClusterRole tulle-metrics-reader to it.\n',
  },
  Unknown: { status: 503, text: 'The API server does not say now who you are. Try again.\n' },
} as const;
