import type { Logger } from 'pino';
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequestSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { TulleError } from '../errors/tulle-error.ts';
import type { Call, IncomingCall } from '../grpc/call.ts';
import { type Method, type Receive, streaming } from '../grpc/method.ts';
import { type StatusError, toStatus } from '../grpc/status.ts';
import { LimitedLog } from '../limits/limited-log.ts';
import { type ShareLimits, Shares } from '../limits/shares.ts';
import { refusedStreams, streams } from './metrics.ts';
import type { TypeUrl } from './resource.ts';
import type { ResourceStore } from './resource-store.ts';
import { encodeResponse } from './response.ts';
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
  readonly admit: (call: IncomingCall) => Promise<DiscoveryClient>;
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
/** A mesh of 5,000 nodes has as many, and twice that while its proxies are replaced. */
const defaultMaxStreams: ShareLimits = { each: 8, all: 16_384 };

/** The delta discovery service. */
export class DiscoveryService {
  readonly #options: DiscoveryOptions;
  readonly #budget: SendBudget;
  readonly #refusals: LimitedLog;
  readonly #streams = new Set<DiscoveryStream>();
  /** For a server. */
  readonly method: Method;
  #draining = false;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#budget = new SendBudget(options.sendLimits);
    this.#refusals = new LimitedLog(options.log);
    const open = new Shares(options.maxStreams ?? defaultMaxStreams);
    const guard = {
      admit: (call: IncomingCall) => this.#admit(call),
      share: ({ name }: DiscoveryClient) => ({ of: open, holder: name }),
      onRefused: (error: unknown, { peer }: IncomingCall) => void this.#refuse(error, peer),
      maxMessageBytes: maxRequestBytes,
    };
    this.method = streaming(
      AggregatedDiscoveryService.method.deltaAggregatedResources,
      guard,
      (receive, client, call) => this.#serve(receive, client, call),
    );
  }

  /** Bytes of responses on their way to clients. */
  get unreadBytes(): number {
    return this.#budget.held;
  }

  /**
   * The revision of a type's store whose changes all clients have been told and have answered; Infinity when there is no
   * client, -1 while one has answered nothing. One that does not ask for the type is not waited for.
   */
  told(type: TypeUrl): number {
    let told = Number.POSITIVE_INFINITY;
    for (const stream of this.#streams) {
      if (!stream.isUnasked(type)) told = Math.min(told, stream.told(type) ?? -1);
    }
    return told;
  }

  /** Takes no more streams, and ends those there are, one after another over `spreadMs`, so that clients do not all reconnect at once. */
  async drain(spreadMs: number): Promise<void> {
    this.#draining = true;
    const ended = [...this.#streams].map((stream, index, all) =>
      after((spreadMs * index) / all.length, () => stream.end()),
    );
    await Promise.all(ended);
  }

  async #admit(call: IncomingCall): Promise<DiscoveryClient> {
    if (this.#draining || !this.#options.ready()) throw notReady();
    return this.#options.admit(call);
  }

  async #serve(
    receive: Receive<typeof DeltaDiscoveryRequestSchema>,
    client: DiscoveryClient,
    call: Call,
  ): Promise<void> {
    // It may have begun to leave while the caller was looked at.
    if (this.#draining) throw this.#refuse(notReady(), call.peer);
    const { stores, log, limits } = this.#options;
    const stream = new DiscoveryStream({
      stores,
      log,
      ...(limits === undefined ? {} : { limits }),
      budget: this.#budget,
      client: client.name,
      onTold: () => this.#options.onTold?.(),
      transport: {
        write: (response, { progressed, flushed }) =>
          // One that cannot be written belongs to a call that is over.
          void call.write(encodeResponse(response), progressed).then(flushed, flushed),
        end: (error) => call.finish(error && toStatus(error)),
      },
    });
    const age = setTimeout(() => stream.end(), this.#maxAgeMs()).unref();
    this.#streams.add(stream);
    streams.set(this.#streams.size);
    log.debug({ client: client.name }, 'a discovery stream begins');
    call.signal.addEventListener('abort', () => {
      clearTimeout(age);
      stream.close();
      this.#streams.delete(stream);
      this.#options.onTold?.();
      streams.set(this.#streams.size);
      log.debug({ client: client.name }, 'a discovery stream is over');
    });
    try {
      await receive((request) => stream.receive(request));
      stream.end();
    } catch (error) {
      stream.fail(error);
    }
  }

  #refuse(error: unknown, peer: string): StatusError {
    const answer = toStatus(error);
    refusedStreams.inc({ status: answer.code });
    this.#refusals.warn({ peer, status: answer.code, err: error }, 'a discovery stream was not let in');
    return answer;
  }

  #maxAgeMs(): number {
    const { maxStreamAgeMs = 20 * 60_000, random = Math.random } = this.#options;
    return maxStreamAgeMs * (1 + random() / 2);
  }
}

function notReady(): TulleError {
  return new TulleError('XdsNotReady', 'this replica does not serve now', { fix: 'Try again, or another replica.' });
}

function after(ms: number, action: () => void): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => {
      action();
      resolve();
    }, ms);
  });
}
