import { createHash } from 'node:crypto';
import type { RequestOptions } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import type { Cluster, DispatcherOptions, KubeConfig } from '@kubernetes/client-node';
import { Agent, type buildConnector, type Dispatcher, ProxyAgent } from 'undici';
import type { Clock } from '../clock.ts';

/** Token, certificate and CA files are looked at again this often, ms; kubelets rotate them hours ahead of expiry. */
const REREAD_MS = 10_000;

/** How to reach the API server just now. */
export interface Connection {
  origin: string;
  /** A path in front of every API path, for servers behind a proxy; '' as a rule. */
  pathPrefix: string;
  dispatcher: Dispatcher;
  headers: Record<string, string>;
}

/**
 * Turns a KubeConfig into connections that all share one dispatcher (client-node itself opens a TLS connection for
 * each call). Files that rotate are read again; only when CA or client certificate really changed is a new dispatcher
 * made, and the old one closes once its running requests are done.
 */
export class Credentials {
  readonly #config: KubeConfig;
  readonly #clock: Clock;
  #current: Connection | undefined;
  #material = '';
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<Connection> | undefined;

  constructor(config: KubeConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  /** Throws when there is no current cluster or a credential file cannot be read. */
  async connection(): Promise<Connection> {
    if (this.#current !== undefined && this.#clock.monotonic() - this.#readAt < REREAD_MS) return this.#current;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** Ends every connection, also of running watches. */
  async close(): Promise<void> {
    await this.#current?.dispatcher.destroy();
    this.#current = undefined;
  }

  async #read(): Promise<Connection> {
    const cluster = this.#config.getCurrentCluster();
    if (cluster === null) throw new Error('the kubeconfig has no current cluster: set current-context');
    const options: RequestOptions = { headers: {} };
    await this.#config.applyToHTTPSOptions(options);
    const dispatcher = this.#dispatcher(cluster, options);
    const server = new URL(cluster.server);
    this.#current = {
      origin: server.origin,
      pathPrefix: server.pathname.replace(/\/$/, ''),
      dispatcher,
      headers: headersOf(options),
    };
    this.#readAt = this.#clock.monotonic();
    return this.#current;
  }

  #dispatcher(cluster: Cluster, options: RequestOptions): Dispatcher {
    const { ca, cert, key, rejectUnauthorized, servername } = options;
    const material = createHash('sha256')
      .update(JSON.stringify([cluster.server, cluster.proxyUrl, String(ca), String(cert), String(key)]))
      .digest('hex');
    if (this.#current !== undefined && material === this.#material) return this.#current.dispatcher;
    void this.#current?.dispatcher.close();
    this.#material = material;
    const tls = { ca, cert, key, rejectUnauthorized, servername };
    return dispatcherOf(this.#config.createDispatcherOptions(cluster, tls));
  }
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (typeof value === 'string') headers[name.toLowerCase()] = value;
  }
  if (typeof options.auth === 'string') {
    headers.authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  return headers;
}

function dispatcherOf(options: DispatcherOptions): Dispatcher {
  const timeouts = { headersTimeout: 30_000, bodyTimeout: 30_000, keepAliveTimeout: 60_000 };
  switch (options.type) {
    case 'agent':
      return new Agent({ connect: { ...secured(options.connect), timeout: 10_000 }, ...timeouts });
    case 'none':
      return new Agent({ connect: { timeout: 10_000 }, ...timeouts });
    case 'proxy':
      return new ProxyAgent({ uri: options.uri, requestTls: secured(options.requestTls), ...timeouts });
    case 'socks':
      throw new Error(`proxy-url ${options.uri}: SOCKS proxies are not supported; use an HTTP proxy or a tunnel`);
  }
}

/** The fields client-node fills in, without those it leaves undefined. */
function secured({ ca, cert, key, rejectUnauthorized, servername }: ConnectionOptions): buildConnector.BuildOptions {
  return {
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
    ...(servername === undefined ? {} : { servername }),
  };
}
