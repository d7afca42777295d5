import { type ConnectRouter, createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { Logger } from 'pino';
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { TulleError } from '../errors/tulle-error.ts';
import { cancelKey } from '../grpc/connection.ts';
import { type Call, callOf, guarded } from '../grpc/guarded.ts';
import { type ShareLimits, Shares } from '../grpc/shares.ts';
import { statusName, toStatus } from '../grpc/status.ts';
import { LimitedLog } from '../telemetry/limited-log.ts';
import { refusedStreams, streams } from './metrics.ts';
import { Outbox } from './outbox.ts';
import type { TypeUrl } from './resource.ts';
import type { ResourceStore } from './resource-store.ts';
import { SendBudget, type SendLimits } from './send-budget.ts';
import { DiscoveryStream, type StreamLimits } from './stream.ts';

/** A client that was let in; all streams with the same `name` count together. */
export interface DiscoveryClient {
  readonly name: string;
}

export interface DiscoveryOptions {
  readonly stores: readonly ResourceStore[];
  /**
   * Lets a caller in, or throws: TulleError CallerUnauthenticated, CallerNotPermitted,
   * CallerReviewUnavailable, CallerReviewsOverloaded.
   */
  readonly admit: (call: Call) => Promise<DiscoveryClient>;
  /** False until the whole mesh is known: a proxy that is told half of it would send the other half in plaintext. */
  readonly ready: () => boolean;
  /** Called when a client has answered, or is gone. */
  readonly onTold?: () => void;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
  readonly limits?: StreamLimits;
  /** A stream is ended in order after this long, and up to half as much again at random, ms: the caller proves itself anew. */
  readonly maxStreamAgeMs?: number;
  /** Two proxies of a node during an upgrade, each with an old stream and a new one; and of all clients together. */
  readonly maxStreams?: ShareLimits;
  readonly sendLimits?: SendLimits | undefined;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** Requests are small but for the first of a stream, which may name every resource of a large mesh with its version. */
const maxRequestBytes = 8 * 1024 * 1024;
/** How long a stream that is to end may take to write what it has, ms: its client may not read. */
const lastWordMs = 5_000;
/** A mesh of 5,000 nodes has as many, and twice that while its proxies are replaced. */
const defaultMaxStreams: ShareLimits = { each: 8, all: 16_384 };

const clientKey = createContextKey<DiscoveryClient | undefined>(undefined, { description: 'whom a stream tells' });

/** The delta discovery service. */
export class DiscoveryService {
  readonly #options: DiscoveryOptions;
  readonly #budget: SendBudget;
  readonly #refusals: LimitedLog;
  readonly #streams = new Set<DiscoveryStream>();
  readonly #shares: Shares;
  #draining = false;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#shares = new Shares(options.maxStreams ?? defaultMaxStreams);
    this.#budget = new SendBudget(options.sendLimits);
    this.#refusals = new LimitedLog(options.log);
  }

  /** Bytes of responses on their way to clients. */
  get unreadBytes(): number {
    return this.#budget.held;
  }

  /**
   * The revision of a type's store whose changes all clients have been told and have answered; Infinity when there is no
   * client, -1 while one has answered nothing.
   */
  told(type: TypeUrl): number {
    return Math.min(...this.#streams.values().map((stream) => stream.told(type) ?? -1));
  }

  /** Adds it to a server. */
  readonly routes = (router: ConnectRouter): void => {
    const guard = guarded({
      admit: (call) => this.#admit(call),
      key: clientKey,
      onRefused: (error, { peer }) => this.#refuse(error, peer),
      maxMessageBytes: maxRequestBytes,
    });
    const deltaAggregatedResources = (requests: AsyncIterable<DeltaDiscoveryRequest>, context: HandlerContext) =>
      this.#serve(requests, context);
    router.service(AggregatedDiscoveryService, { deltaAggregatedResources }, guard);
  };

  /** Takes no more streams, and ends those there are, one after another over `spreadMs`, so that clients do not all reconnect at once. */
  async drain(spreadMs: number): Promise<void> {
    this.#draining = true;
    const ended = [...this.#streams].map((stream, index, all) =>
      after((spreadMs * index) / all.length, () => stream.end()),
    );
    await Promise.all(ended);
  }

  async #admit(call: Call): Promise<DiscoveryClient> {
    if (this.#draining || !this.#options.ready()) throw notReady();
    return this.#options.admit(call);
  }

  async *#serve(
    requests: AsyncIterable<DeltaDiscoveryRequest>,
    context: HandlerContext,
  ): AsyncGenerator<DeltaDiscoveryResponse, void, void> {
    const { values, signal } = context;
    const client = values.get(clientKey);
    const give = this.#begin(client, callOf(context).peer);
    const { stores, log, limits } = this.#options;
    const outbox = new Outbox<DeltaDiscoveryResponse>();
    let cut: NodeJS.Timeout | undefined;
    const stream = new DiscoveryStream({
      stores,
      log,
      ...(limits === undefined ? {} : { limits }),
      budget: this.#budget,
      client: client?.name ?? '',
      onTold: () => this.#options.onTold?.(),
      wire: {
        write: (message, flushed) => outbox.put(message, flushed),
        end: (error) => {
          outbox.end(error && toStatus(error));
          // A client that does not read what there is would not read the reason either.
          if (error !== undefined && outbox.isBlocked) values.get(cancelKey)?.();
          else cut ??= setTimeout(() => values.get(cancelKey)?.(), lastWordMs).unref();
        },
      },
    });
    const age = setTimeout(() => stream.end(), this.#maxAgeMs()).unref();
    this.#streams.add(stream);
    streams.set(this.#streams.size);
    log.debug({ client: client?.name }, 'a discovery stream begins');
    signal.addEventListener('abort', () => outbox.end(), { once: true });
    void receive(requests, stream);
    try {
      yield* outbox;
    } finally {
      clearTimeout(age);
      clearTimeout(cut);
      stream.close();
      this.#streams.delete(stream);
      this.#options.onTold?.();
      streams.set(this.#streams.size);
      give();
      log.debug({ client: client?.name }, 'a discovery stream is over');
    }
  }

  /** Looks at the limit and counts the stream in one step: a burst of calls cannot pass between the two. */
  #begin(client: DiscoveryClient | undefined, peer: string): () => void {
    const give = this.#draining || client === undefined ? undefined : this.#shares.take(client.name);
    if (give !== undefined) return give;
    throw this.#refuse(this.#draining || client === undefined ? notReady() : tooMany(client), peer);
  }

  #refuse(error: unknown, peer: string) {
    const answer = toStatus(error);
    const status = statusName(answer);
    refusedStreams.inc({ status });
    this.#refusals.warn({ peer, status, err: error }, 'a discovery stream was not let in');
    return answer;
  }

  #maxAgeMs(): number {
    const { maxStreamAgeMs = 20 * 60_000, random = Math.random } = this.#options;
    return maxStreamAgeMs * (1 + random() / 2);
  }
}

/** Until the client has said its last; what cannot be parsed, and a client that is gone, end the call itself. */
async function receive(requests: AsyncIterable<DeltaDiscoveryRequest>, stream: DiscoveryStream): Promise<void> {
  try {
    for await (const request of requests) {
      if (stream.isOver) return;
      stream.receive(request);
    }
    stream.end();
  } catch (error) {
    stream.fail(error);
  }
}

function tooMany({ name }: DiscoveryClient): TulleError {
  return new TulleError('XdsRequestsTooMany', `${name}, or all clients together, have as many streams as they may.`);
}

function notReady(): TulleError {
  return new TulleError('XdsNotReady', 'this replica does not serve now', { mend: 'Try again, or another replica.' });
}

function after(ms: number, action: () => void): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => {
      action();
      resolve();
    }, ms);
  });
}
