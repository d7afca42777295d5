import { type Metadata, type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { ErrorCode } from '../errors/codes.ts';
import { explain, isTulleError, TulleError } from '../errors/tulle-error.ts';
import { Gate } from './gate.ts';
import { refusedStreams, streams } from './metrics.ts';
import type { ResourceStore } from './resource-store.ts';
import { DiscoveryStream, type StreamLimits } from './stream.ts';

/** A client that was let in; all streams with the same `name` count together. */
export interface DiscoveryClient {
  readonly name: string;
}

export interface DiscoveryOptions {
  readonly stores: readonly ResourceStore[];
  /**
   * Lets a caller in by its headers, or throws: TulleError CallerUnauthenticated, CallerNotPermitted,
   * CallerReviewUnavailable, CallerReviewsOverloaded.
   */
  readonly admit: (metadata: Metadata) => Promise<DiscoveryClient>;
  /** False until the whole mesh is known: a proxy that is told half of it would send the other half in plaintext. */
  readonly ready: () => boolean;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
  readonly limits?: StreamLimits;
  /** A stream is ended in order after this long, and up to half as much again at random, ms: the caller proves itself anew. */
  readonly maxStreamAgeMs?: number;
  /** Two proxies of a node during an upgrade, each with an old stream and a new one. */
  readonly maxStreamsOfClient?: number;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

type Call = ServerDuplexStream<Uint8Array, Buffer>;

const bytes = (value: Buffer): Buffer => value;

/** Messages pass as bytes: responses are put together from resources that are encoded already. */
export const discoveryDefinition = {
  DeltaAggregatedResources: {
    path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    requestStream: true,
    responseStream: true,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  },
} as const satisfies ServiceDefinition;

const largeResponsesAtOnce = 16;
/** A large response to a client that reads is gone in a fraction of this, ms. */
const largeResponseMs = 2_000;

/** The delta discovery service. Add it to a server with `server.addService(discoveryDefinition, service.handlers)`. */
export class DiscoveryService {
  readonly handlers = { DeltaAggregatedResources: (call: Call) => this.#open(call) };
  readonly #options: DiscoveryOptions;
  readonly #gate = new Gate(largeResponsesAtOnce, largeResponseMs);
  readonly #streams = new Set<DiscoveryStream>();
  readonly #callsByClient = new Map<string, number>();
  #draining = false;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
  }

  /** Takes no more streams, and ends those there are, one after another over `spreadMs`, so that clients do not all reconnect at once. */
  async drain(spreadMs: number): Promise<void> {
    this.#draining = true;
    const ended = [...this.#streams].map((stream, index, all) =>
      after((spreadMs * index) / all.length, () => stream.end()),
    );
    await Promise.all(ended);
  }

  #open(call: Call): void {
    // Nothing is read from the client before it is let in: the stream stays paused.
    this.#admit(call).then(
      (client) => this.#serve(call, client),
      (error: unknown) => this.#refuse(call, error),
    );
  }

  async #admit(call: Call): Promise<DiscoveryClient> {
    if (this.#draining || !this.#options.ready()) throw notReady();
    const client = await this.#options.admit(call.metadata);
    if (this.#draining) throw notReady();
    const { maxStreamsOfClient = 8 } = this.#options;
    if ((this.#callsByClient.get(client.name) ?? 0) < maxStreamsOfClient) return client;
    throw new TulleError('XdsRequestsTooMany', `${client.name} has ${maxStreamsOfClient} streams open already`);
  }

  #serve(call: Call, client: DiscoveryClient): void {
    if (call.cancelled || call.destroyed) return;
    const { stores, log, limits } = this.#options;
    const stream = new DiscoveryStream({
      stores,
      log,
      ...(limits === undefined ? {} : { limits }),
      gate: this.#gate,
      wire: {
        write: (message, flushed) => call.write(message, flushed),
        end: (error) => (error === undefined ? call.end() : call.emit('error', toStatus(error))),
      },
    });
    const age = setTimeout(() => stream.end(), this.#maxAgeMs()).unref();
    const close = once(() => {
      clearTimeout(age);
      stream.close();
      this.#streams.delete(stream);
      this.#count(client, -1);
      streams.set(this.#streams.size);
      log.debug({ client: client.name }, 'a discovery stream is over');
    });
    this.#streams.add(stream);
    this.#count(client, 1);
    streams.set(this.#streams.size);
    log.debug({ client: client.name }, 'a discovery stream begins');
    call.on('cancelled', close);
    call.on('close', close);
    call.on('error', () => stream.close());
    call.on('end', () => stream.end());
    call.on('data', (message: Uint8Array) => stream.receive(message));
  }

  #refuse(call: Call, error: unknown): void {
    const answer = toStatus(error);
    refusedStreams.inc({ status: status[answer.code] ?? 'UNKNOWN' });
    const fields = { peer: call.getPeer(), status: status[answer.code], err: error };
    this.#options.log.warn(fields, 'a discovery stream was not let in');
    call.emit('error', answer);
  }

  #count({ name }: DiscoveryClient, change: number): void {
    const calls = (this.#callsByClient.get(name) ?? 0) + change;
    if (calls === 0) this.#callsByClient.delete(name);
    else this.#callsByClient.set(name, calls);
  }

  #maxAgeMs(): number {
    const { maxStreamAgeMs = 20 * 60_000, random = Math.random } = this.#options;
    return maxStreamAgeMs * (1 + random() / 2);
  }
}

function notReady(): TulleError {
  return new TulleError('XdsNotReady', 'this replica does not serve now', { mend: 'Try again, or another replica.' });
}

const statusOf: Partial<Record<ErrorCode, status>> = {
  CallerUnauthenticated: status.UNAUTHENTICATED,
  CallerNotPermitted: status.PERMISSION_DENIED,
  CallerReviewUnavailable: status.UNAVAILABLE,
  CallerReviewsOverloaded: status.RESOURCE_EXHAUSTED,
  XdsNotReady: status.UNAVAILABLE,
  XdsRequestInvalid: status.INVALID_ARGUMENT,
  XdsSubscriptionTooLarge: status.RESOURCE_EXHAUSTED,
  XdsRequestsTooMany: status.RESOURCE_EXHAUSTED,
  XdsPolicyNotAsked: status.FAILED_PRECONDITION,
  XdsClientSilent: status.DEADLINE_EXCEEDED,
};

/** What is not ours is not told to clients. */
function toStatus(error: unknown): { code: status; details: string } {
  if (!isTulleError(error)) return { code: status.INTERNAL, details: 'internal error' };
  return { code: statusOf[error.code] ?? status.INTERNAL, details: explain(error) };
}

function after(ms: number, action: () => void): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => {
      action();
      resolve();
    }, ms);
  });
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}
