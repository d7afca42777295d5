import type { Logger } from 'pino';
import type { DeltaDiscoveryRequest } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { TulleError } from '../errors/tulle-error.ts';
import { StatusError } from '../grpc/status.ts';
import { TokenBucket } from '../limits/token-bucket.ts';
import { nacks, pushedBytes, pushes, pushSeconds } from './metrics.ts';
import { guards, inOrder } from './order.ts';
import { type DiscoveryRequest, discoveryRequest } from './request.ts';

import { type TypeUrl, typeLabel } from './resource.ts';
import type { ResourceStore, StoreChange } from './resource-store.ts';
import { type News, type Response, sizeOf } from './response.ts';
import type { Send, SendBudget } from './send-budget.ts';
import { Subscription } from './subscription.ts';

/** What a transport tells of a response it was given. */
export interface Sending {
  /** So many bytes more have left this process. */
  progressed(bytes: number): void;
  /** All have left, or are dropped because the stream is over; later than `write`. */
  flushed(): void;
}

/** The transport of one stream. */
export interface Transport {
  write(response: Response, sending: Sending): void;
  /** Ends the stream in order; an error tells the client why. */
  end(error?: TulleError | StatusError): void;
}

export interface StreamLimits {
  /** A response of which nothing more leaves, or which has left and is not acknowledged, for so long ends the stream, ms. */
  readonly acknowledgeMs: number;
  /** So does a client that asks for addresses and, while there are policies, not for these, ms. */
  readonly subscribeMs: number;
  /** Requests at once, and a second after that. */
  readonly requestBurst: number;
  readonly requestsPerSecond: number;
}

export const defaultStreamLimits: StreamLimits = {
  acknowledgeMs: 60_000,
  subscribeMs: 10_000,
  requestBurst: 2_000,
  requestsPerSecond: 500,
};

export interface StreamOptions {
  readonly stores: readonly ResourceStore[];
  readonly transport: Transport;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  readonly limits?: StreamLimits;
  /** Shared by all streams; those with the same `client` count together. */
  readonly budget: SendBudget;
  readonly client: string;
  /** Called when the client has answered a round. */
  readonly onTold?: () => void;
  /** ms. */
  readonly now?: () => number;
}

/** One type on this stream. */
interface Channel {
  readonly store: ResourceStore;
  readonly subscription: Subscription;
  /** When the oldest change came that the client has not been told of, ms. */
  owedSince: number | undefined;
  /** The revision of the store that the round under way tells, and the one that the last round told. */
  telling: number | undefined;
  told: number | undefined;
}

/** One message of a round, until it is answered. */
interface Turn {
  readonly news: News;
  /** When the oldest change in it came, ms. */
  readonly since: number | undefined;
  nonce: string;
}

/**
 * One discovery stream of one client: takes its requests, and tells it what it does not know, in rounds. A round is what
 * the stores held at one instant, told message by message in the order of order.ts, each when the one before it has been
 * answered; what changes meanwhile is for the next round. So a client goes from one state of the mesh to a later one, and
 * no change, however often it comes, keeps another one back for longer than a round. ADR 10.
 *
 *          owed                    read                       no more
 *   IDLE ───────► READ THE STORES ──────► WRITE ◄── answered ── ANSWER AWAITED ──────► IDLE
 *                    │ addresses, and not       └──── written ────►  │ not within acknowledgeMs
 *                    ▼ all policies asked for                        ▼
 *                 addresses stay owed; not asked for             stream ended
 *                 within subscribeMs: stream ended
 */
export class DiscoveryStream {
  readonly #options: StreamOptions;
  readonly #limits: StreamLimits;
  readonly #now: () => number;
  readonly #begun: number;
  readonly #budget: TokenBucket;
  readonly #channels = new Map<TypeUrl, Channel>();
  readonly #stopListening: readonly (() => void)[];
  /** What is left of the round. */
  #turns: Turn[] = [];
  /** What the client has not answered. */
  #awaited: Turn | undefined;
  #unguarded: NodeJS.Timeout | undefined;
  /** The response that is on its way, or waits for room. */
  #sending: Send | undefined;
  /** Whether the transport has it. */
  #isWritten = false;
  #deadline: NodeJS.Timeout | undefined;
  #client = '';
  #nonce = 0;
  #closed = false;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#limits = options.limits ?? defaultStreamLimits;
    this.#now = options.now ?? performance.now.bind(performance);
    this.#begun = this.#now();
    this.#budget = new TokenBucket(this.#limits.requestBurst, this.#limits.requestsPerSecond, this.#now());
    this.#stopListening = options.stores.map((store) =>
      store.onChange((change) => this.#changed(this.#channels.get(store.type), change)),
    );
  }

  /** One message from the client. One that breaks the protocol ends the stream, and nothing else. */
  receive(message: DeltaDiscoveryRequest): void {
    if (this.#closed) return;
    try {
      if (!this.#budget.spend(this.#now())) {
        throw new TulleError('XdsRequestsTooMany', `more than ${this.#limits.requestsPerSecond} requests a second`);
      }
      this.#take(discoveryRequest(message));
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#pump();
  }

  get isOver(): boolean {
    return this.#closed;
  }

  /**
   * The revision of a type's store whose changes the client has all been told and has answered; undefined while it has
   * answered none.
   */
  told(type: TypeUrl): number | undefined {
    return this.#channels.get(type)?.told;
  }

  /** Whether it has lived for so long without having asked for a type that it never will. */
  isUnasked(type: TypeUrl): boolean {
    return !this.#channels.has(type) && this.#now() - this.#begun > this.#limits.subscribeMs;
  }

  /** The stream is over, whoever ended it: nothing is kept of it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stop of this.#stopListening) stop();
    clearTimeout(this.#deadline);
    clearTimeout(this.#unguarded);
    // What the transport has is dropped by it, in its time.
    if (this.#sending !== undefined && !this.#isWritten) this.#options.budget.leave(this.#sending);
    this.#channels.clear();
    this.#turns = [];
  }

  /** Ends the stream in order: the client reconnects and is told only what it missed. */
  end(): void {
    if (this.#closed) return;
    this.close();
    this.#options.transport.end();
  }

  #take(request: DiscoveryRequest): void {
    if (request.client !== '') this.#client = request.client;
    const channel = this.#channelOf(request.type);
    if (channel === undefined) {
      this.#options.log.debug({ client: this.#client, type: request.type.slice(0, 200) }, 'not a type of ours');
      return;
    }
    channel.subscription.receive(request);
    this.#settle(request);
  }

  /** An answer to what was told, if it is one. A refusal is one too: the client refuses what it could not read. */
  #settle({ type, nonce, refusal }: DiscoveryRequest): void {
    const turn = this.#awaited;
    if (turn === undefined || turn.news.type !== type || turn.nonce !== nonce) return;
    this.#awaited = undefined;
    this.#rest();
    const label = typeLabel(turn.news.type);
    if (turn.since !== undefined) pushSeconds.observe({ type: label }, (this.#now() - turn.since) / 1000);
    if (refusal === undefined) return;
    nacks.inc({ type: label });
    this.#options.log.warn({ client: this.#client, type, reason: refusal }, 'a client refused what it was told');
  }

  #channelOf(type: string): Channel | undefined {
    const store = this.#options.stores.find((store) => store.type === type);
    if (store === undefined) return undefined;
    const channel = this.#channels.get(store.type) ?? {
      store,
      subscription: new Subscription(store),
      owedSince: undefined,
      telling: undefined,
      told: undefined,
    };
    this.#channels.set(store.type, channel);
    return channel;
  }

  #changed(channel: Channel | undefined, change: StoreChange): void {
    if (channel !== undefined) {
      channel.subscription.changed(change);
      channel.owedSince ??= this.#now();
    }
    this.#pump();
  }

  /** Writes the next message once the last one has left and is answered. */
  #pump(): void {
    this.#waitForGuard([...this.#channels.values()].every((channel) => this.#isGuarded(channel)));
    if (this.#sending !== undefined || this.#awaited !== undefined || this.#closed) return;
    if (this.#turns.length === 0) {
      this.#endRound();
      this.#turns = this.#nextRound();
    }
    const turn = this.#turns.shift();
    if (turn !== undefined) this.#write(turn);
    else this.#endRound();
  }

  /** Everything of it has been answered. */
  #endRound(): void {
    let isNews = false;
    for (const channel of this.#channels.values()) {
      isNews ||= channel.telling !== undefined && channel.telling !== channel.told;
      channel.told = channel.telling ?? channel.told;
      channel.telling = undefined;
    }
    if (isNews) this.#options.onTold?.();
  }

  #nextRound(): Turn[] {
    const channels = [...this.#channels.values()];
    const guarded = channels.filter((channel) => this.#isGuarded(channel));
    const news = guarded.flatMap(({ subscription }) => subscription.news() ?? []);
    const turns = inOrder(new Map(news.map((all) => [all.type, all]))).map((part) => ({
      news: part,
      since: this.#channels.get(part.type)?.owedSince,
      nonce: '',
    }));
    for (const channel of guarded) {
      channel.owedSince = undefined;
      channel.telling = channel.store.revision;
    }
    return turns;
  }

  /** Whether the client hears of what this type relies on, if there is any of it. */
  #isGuarded({ store }: Channel): boolean {
    const guard = guards.get(store.type);
    if (guard === undefined || this.#channels.get(guard)?.subscription.wildcard === true) return true;
    return this.#options.stores.every(({ type, size }) => type !== guard || size === 0);
  }

  #waitForGuard(isThere: boolean): void {
    if (this.#closed) return;
    if (!isThere) {
      const { subscribeMs } = this.#limits;
      this.#unguarded ??= setTimeout(() => this.fail(policyNotAsked(subscribeMs)), subscribeMs).unref();
      return;
    }
    clearTimeout(this.#unguarded);
    this.#unguarded = undefined;
  }

  /** A response is put together only when there is room for it: until then it is a list of shared resources. */
  #write(turn: Turn): void {
    this.#awaited = turn;
    turn.nonce = String(++this.#nonce);
    const { budget, client } = this.#options;
    const send: Send = {
      client,
      bytes: sizeOf(turn.news),
      begin: () => this.#send(turn, send),
      stalled: () => this.fail(unread(turn.news.type)),
    };
    this.#sending = send;
    budget.enter(send);
  }

  #send(turn: Turn, send: Send): void {
    const { type } = turn.news;
    pushes.inc({ type: typeLabel(type) });
    pushedBytes.inc({ type: typeLabel(type) }, send.bytes);
    this.#awaitWord(type);
    this.#isWritten = true;
    const { budget, transport } = this.#options;
    transport.write(
      { ...turn.news, nonce: turn.nonce },
      {
        progressed: (bytes) => {
          budget.progressed(send, bytes);
          this.#awaitWord(type);
        },
        flushed: () => {
          budget.leave(send);
          this.#sending = undefined;
          this.#isWritten = false;
          this.#rest();
          this.#pump();
        },
      },
    );
  }

  /** From now on the client has the full time to read on, or to answer. */
  #awaitWord(type: TypeUrl): void {
    if (this.#closed) return;
    const limitMs = this.#limits.acknowledgeMs;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.fail(silence(type, limitMs)), limitMs).unref();
  }

  /** A client cannot have answered what has not left, whatever it says: both must be so. */
  #rest(): void {
    if (this.#sending === undefined && this.#awaited === undefined) clearTimeout(this.#deadline);
  }

  /** Ends the stream and tells the client why; what is not ours is only logged. */
  fail(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#options.log.warn({ client: this.#client, err: error }, 'a discovery stream was ended');
    const isTold = error instanceof TulleError || error instanceof StatusError;
    this.#options.transport.end(
      isTold ? error : new TulleError('XdsRequestInvalid', 'the request could not be handled'),
    );
  }
}

function silence(type: TypeUrl, limitMs: number): TulleError {
  return new TulleError('XdsClientSilent', `no acknowledgement of ${typeLabel(type)} within ${limitMs / 1000} s`);
}

function unread(type: TypeUrl): TulleError {
  return new TulleError('XdsClientSilent', `${typeLabel(type)} was not read, and others wait for its room`);
}

function policyNotAsked(limitMs: number): TulleError {
  const message = `addresses were asked for, and not within ${limitMs / 1000} s all policies`;
  return new TulleError('XdsPolicyNotAsked', message, { fix: 'Subscribe to * of Authorization on the same stream.' });
}
