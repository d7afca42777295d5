/**
 * A gRPC server that a stranger costs little. Nothing of a message is read, and nothing decompressed, before it is known who
 * calls (see `guarded`); what a connection may take before that is limited here, for each address and for all. ADR 14.
 *
 *   TCP ─► share of its address ─► TLS handshake ─► Connection (STRANGER) ─► headers of a call ─► gate ─► messages
 */
import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type Http2Session,
  type ServerHttp2Session,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { type ConnectRouter, type ContextValues, createConnectRouter, createContextValues } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Log } from '../kube/log.ts';
import { Connection, type ConnectionLimits, cancelKey, connectionKey, defaultConnectionLimits } from './connection.ts';
import { refusedConnections } from './metrics.ts';
import { type ShareLimits, Shares } from './shares.ts';

export interface ServerLimits extends ConnectionLimits {
  /** Connections of an address, and in all. */
  readonly connections: ShareLimits;
  /** The same of those on which nobody was let in yet. */
  readonly strangers: ShareLimits;
  /** Calls at once on a connection. */
  readonly streams: number;
}

export const defaultServerLimits: ServerLimits = {
  ...defaultConnectionLimits,
  // A node proxy has two, and during an upgrade there are two proxies.
  connections: { each: 32, all: 16_384 },
  strangers: { each: 16, all: 128 },
  // As many as clients send before they have heard of any limit.
  streams: 100,
};

export interface GrpcServerOptions {
  readonly routes: (router: ConnectRouter) => void;
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
  readonly #server: Http2SecureServer | Http2Server;
  readonly #handlers: ReadonlyMap<string, UniversalHandler>;
  readonly #connections = new Map<Http2Session, Connection>();
  readonly #shares: Shares;
  readonly #strangers: Shares;
  /** By their peers, with how each gives back its share of strangers. */
  readonly #sockets = new Map<string, { readonly socket: Socket; readonly noLongerStrange: () => void }>();

  constructor({ routes, log, limits, insecure = false }: GrpcServerOptions) {
    this.#log = log;
    this.#limits = { ...defaultServerLimits, ...limits };
    this.#shares = new Shares(this.#limits.connections);
    this.#strangers = new Shares(this.#limits.strangers);
    const router = createConnectRouter({ grpc: true, grpcWeb: false, connect: false });
    routes(router);
    this.#handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
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
    this.#server = insecure
      ? createServer(options)
      : createSecureServer({ ...options, handshakeTimeout: handshakeMs, ALPNProtocols: ['h2'] });
    this.#server.prependListener('connection', (socket: Socket) => this.#accept(socket));
    this.#server.on('session', (session: ServerHttp2Session) => this.#begin(session));
    this.#server.on('request', (request: Http2ServerRequest, response: Http2ServerResponse) =>
      this.#handle(request, response),
    );
  }

  /** @throws when it cannot listen there */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        // As when there are no more descriptors: it goes on with what it has.
        this.#server.on('error', (err) => this.#log.error({ err }, 'a connection cannot be accepted'));
        const address: AddressInfo | string | null = this.#server.address();
        resolve(typeof address === 'object' ? (address?.port ?? port) : port);
      });
    });
  }

  /** PEM, for handshakes from now on; before the first, handshakes fail. */
  setCertificate(pair: { readonly certificate: string; readonly privateKey: string }): void {
    if ('setSecureContext' in this.#server) {
      this.#server.setSecureContext({ cert: pair.certificate, key: pair.privateKey });
    }
  }

  /** Takes no more connections and calls; resolves when those there were have ended. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections.values()) connection.leave();
    return closed;
  }

  /** Cuts what is left. */
  destroy(): void {
    for (const { socket } of this.#sockets.values()) socket.destroy();
  }

  /** Before the handshake. */
  #accept(socket: Socket): void {
    const { remoteAddress = 'unknown', remotePort = 0 } = socket;
    const give = this.#shares.take(remoteAddress);
    const noLongerStrange = this.#strangers.take(remoteAddress);
    if (give === undefined || noLongerStrange === undefined) {
      give?.();
      noLongerStrange?.();
      refusedConnections.inc();
      socket.destroy();
      return;
    }
    const peer = `${remoteAddress}:${remotePort}`;
    this.#sockets.set(peer, { socket, noLongerStrange });
    socket.once('close', () => {
      give();
      noLongerStrange();
      this.#sockets.delete(peer);
    });
  }

  #begin(session: ServerHttp2Session): void {
    const connection: Connection = new Connection(session, this.#limits, {
      onKnown: () => this.#sockets.get(connection.peer)?.noLongerStrange(),
      cut: () => this.#sockets.get(connection.peer)?.socket.destroy(),
    });
    this.#connections.set(session, connection);
    session.on('error', (err) => this.#log.debug({ peer: connection.peer, err }, 'a connection failed'));
    session.once('close', () => this.#connections.delete(session));
  }

  #handle(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const handler = this.#handlers.get(request.url);
    if (handler === undefined) {
      response.writeHead(404).end();
      return;
    }
    this.#answer(handler, request, response)
      // The caller is gone: whoever answers it has heard of that by its signal.
      .catch((err: unknown) => this.#log.debug({ err, path: request.url }, 'a call could not be answered'));
  }

  async #answer(handler: UniversalHandler, request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const { stream } = request;
    const values = createContextValues()
      .set(connectionKey, stream.session && this.#connections.get(stream.session))
      .set(cancelKey, () => {
        stream.close(constants.NGHTTP2_CANCEL);
        stream.destroy();
      });
    // Who writes a response waits for `drain` or an error: a stream that is closed meanwhile gives neither.
    stream.once('close', () => {
      if (response.listenerCount('error') > 0) response.emit('error', new Error('the call is over'));
    });
    const call = toCall(request, response, values);
    if (call === undefined) response.writeHead(400).end();
    else await universalResponseToNodeResponse(await handler(call), response);
  }
}

/** Undefined for a call whose headers are none of a URL. */
function toCall(request: Http2ServerRequest, response: Http2ServerResponse, values: ContextValues) {
  try {
    return universalRequestFromNodeRequest(request, response, undefined, values);
  } catch {
    return undefined;
  }
}
