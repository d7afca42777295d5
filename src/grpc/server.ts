/**
 * A gRPC server whom an unauthenticated caller costs little. Nothing of a message is read before it is known who calls (see
 * `Guard`), and messages are not compressed; what a connection may take before that is limited here, for each address and for
 * all. ADR 14.
 *
 *   TCP ─► table: share and rate of its address ─► TLS handshake ─► Connection ─► headers of a Call ─► Guard ─► messages
 */
import {
  constants,
  createServer as createPlainServer,
  createSecureServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { createServer, type Server } from 'node:net';
import { AddressRates, type Rate } from '../limits/address-rates.ts';
import type { Log } from '../telemetry/log.ts';
import { Call } from './call.ts';
import { Connection, type ConnectionLimits, defaultConnectionLimits } from './connection.ts';
import { ConnectionTable, type ConnectionTableLimits } from './connection-table.ts';
import type { Method } from './method.ts';
import { StatusError } from './status.ts';

export interface ServerLimits extends ConnectionLimits, ConnectionTableLimits {
  /** Calls at once on a connection. */
  readonly streams: number;
  /**
   * Calls of an address that are refused, for who their caller is or for how many it has open: beyond it the connection takes no
   * more calls.
   */
  readonly refusals: Rate;
}

export const defaultServerLimits: ServerLimits = {
  ...defaultConnectionLimits,
  // A node proxy has two, and during an upgrade there are two proxies.
  connections: { each: 32, all: 16_384 },
  unauthenticated: { each: 16, all: 128 },
  // At once all that an address may have: a proxy that starts anew beside other pods of its node's network. Each costs a
  // handshake and as many streams as a client opens before it is answered, 5 ms together.
  newConnections: { burst: 32, perSecond: 4 },
  // A proxy that asks for the certificates of 300 pods at once, of 256 that it may. Checking a signature takes less than 1 ms.
  refusals: { burst: 50, perSecond: 10 },
  // As many as clients send before they have heard of any limit.
  streams: 100,
};

export interface GrpcServerOptions {
  readonly methods: readonly Method[];
  readonly log: Log;
  readonly limits?: Partial<ServerLimits>;
  /** Without TLS; for tests. */
  readonly insecure?: boolean;
}

/** A token of a service account is 1 to 8 kB, and there is little else in the headers of a call. */
const maxHeaderBytes = 16 * 1024;
/** What is received of a call and not read. */
const windowBytes = 16 * 1024;
/** MB. Node.js takes no new call on a connection beyond it, and counts what is being sent, which others limit. */
const maxSessionMemory = 512;

export class GrpcServer {
  readonly #log: Log;
  readonly #limits: ServerLimits;
  /** Takes connections; those that may stay are given to the HTTP/2 server, which does not listen itself. */
  readonly #listener: Server;
  readonly #http: Http2SecureServer | Http2Server;
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #table: ConnectionTable;
  readonly #refusals: AddressRates;
  readonly #connections = new Map<Http2Session, Connection>();

  constructor({ methods, log, limits, insecure = false }: GrpcServerOptions) {
    this.#log = log;
    this.#limits = { ...defaultServerLimits, ...limits };
    this.#table = new ConnectionTable(this.#limits);
    this.#refusals = new AddressRates(this.#limits.refusals);
    this.#methods = new Map(methods.map((method) => [method.path, method]));
    const { handshakeMs, streams } = this.#limits;
    const options = {
      maxSessionMemory,
      settings: {
        maxConcurrentStreams: streams,
        maxHeaderListSize: maxHeaderBytes,
        initialWindowSize: windowBytes,
        enablePush: false,
      },
    };
    this.#http = insecure
      ? createPlainServer(options)
      : createSecureServer({ ...options, handshakeTimeout: handshakeMs, ALPNProtocols: ['h2'] });
    this.#http.on('session', (session: ServerHttp2Session) => this.#begin(session));
    this.#http.on(
      'stream',
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, rawHeaders: string[]) =>
        this.#serve(stream, headers, rawHeaders),
    );
    this.#listener = createServer((socket) => {
      if (this.#table.add(socket)) this.#http.emit('connection', socket);
    });
  }

  /** @throws when it cannot listen there */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(port, host, () => {
        this.#listener.off('error', reject);
        // As when there are no more descriptors: it goes on with what it has.
        this.#listener.on('error', (err) => this.#log.error({ err }, 'a connection cannot be accepted'));
        const address = this.#listener.address();
        resolve(typeof address === 'object' ? (address?.port ?? port) : port);
      });
    });
  }

  /** PEM, for handshakes from now on; before the first, handshakes fail. */
  setCertificate(pair: { readonly certificate: string; readonly privateKey: string }): void {
    if ('setSecureContext' in this.#http) {
      this.#http.setSecureContext({ cert: pair.certificate, key: pair.privateKey });
    }
  }

  /** Takes no more connections and calls; resolves when those there were have ended. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const connection of this.#connections.values()) connection.leave();
    return closed;
  }

  /** Cuts what is left. */
  destroy(): void {
    this.#table.cutAll();
  }

  #begin(session: ServerHttp2Session): void {
    const connection: Connection = new Connection(session, this.#limits, {
      authenticated: () => this.#table.markAuthenticated(connection.address, connection.peer),
      refused: () => void this.#refusals.spend(connection.address),
      mayBeRefused: () => this.#refusals.has(connection.address),
      cut: () => this.#table.cut(connection.peer),
    });
    this.#connections.set(session, connection);
    session.on('error', (err) => this.#log.debug({ peer: connection.peer, err }, 'a connection failed'));
    session.once('close', () => this.#connections.delete(session));
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    const connection = stream.session && this.#connections.get(stream.session);
    if (connection === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const call = new Call(stream, connection, headers, rawHeaders);
    const { ':method': verb, ':path': path = '', 'content-type': contentType = '' } = headers;
    const method = verb === 'POST' && grpcContent.test(contentType) ? this.#methods.get(path) : undefined;
    if (method === undefined) {
      call.finish(new StatusError('UNIMPLEMENTED', 'there is no such method'));
      return;
    }
    method.serve(call).catch((err: unknown) => this.#log.error({ err, path }, 'a call could not be answered'));
  }
}

const grpcContent = /^application\/grpc(\+proto)?\s*(;|$)/i;
