import type { Logger } from 'pino';
import { TulleError } from '../errors/tulle-error.ts';
import type { Gate } from './gate.ts';
import { nacks, pushedBytes, pushes, pushSeconds } from './metrics.ts';
import { type DiscoveryRequest, decodeRequest } from './request.ts';
import { RequestBudget } from './request-budget.ts';
import { type TypeUrl, typeLabel } from './resource.ts';
import type { ResourceStore, StoreChange } from './resource-store.ts';
import { encodeResponse, type Response } from './response.ts';
import { Subscription } from './subscription.ts';

/** The transport of one stream. */
export interface Wire {
  /** `flushed` is called, later, when the bytes have left this process. */
  write(message: Buffer, flushed: () => void): void;
  /** Ends the stream in order; an error tells the client why. */
  end(error?: TulleError): void;
}

export interface StreamLimits {
  /** A response that is not acknowledged for so long ends the stream, ms. */
  readonly acknowledgeMs: number;
  /** Requests at once, and a second after that. */
  readonly requestBurst: number;
  readonly requestsPerSecond: number;
}

export const defaultStreamLimits: StreamLimits = {
  acknowledgeMs: 60_000,
  requestBurst: 2_000,
  requestsPerSecond: 500,
};

export interface StreamOptions {
  readonly stores: readonly ResourceStore[];
  readonly wire: Wire;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  readonly limits?: StreamLimits;
  /** For responses larger than `largeResponseBytes`; shared by all streams. */
  readonly gate: Gate;
  /** ms. */
  readonly now?: () => number;
}

/** Smaller ones do not wait for others. */
export const largeResponseBytes = 256 * 1024;

/** One type on this stream. */
interface Channel {
  readonly store: ResourceStore;
  readonly subscription: Subscription;
  /** When the oldest change that is still to be written came, ms. */
  owedSince: number | undefined;
  writtenSince: number | undefined;
  deadline: NodeJS.Timeout | undefined;
}

/** One discovery stream of one client: takes its requests, and writes what its subscriptions owe, one message at a time. */
export class DiscoveryStream {
  readonly #options: StreamOptions;
  readonly #limits: StreamLimits;
  readonly #now: () => number;
  readonly #budget: RequestBudget;
  readonly #channels = new Map<string, Channel>();
  readonly #stopListening: (() => void)[] = [];
  #leaveGate: (() => void) | undefined;
  #client = '';
  #nonce = 0;
  #writing = false;
  #closed = false;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#limits = options.limits ?? defaultStreamLimits;
    this.#now = options.now ?? performance.now.bind(performance);
    this.#budget = new RequestBudget(this.#limits.requestBurst, this.#limits.requestsPerSecond, this.#now());
  }

  /** One message from the client. One that breaks the protocol ends the stream, and nothing else. */
  receive(message: Uint8Array): void {
    if (this.#closed) return;
    try {
      if (!this.#budget.spend(this.#now())) {
        throw new TulleError('XdsRequestsTooMany', `more than ${this.#limits.requestsPerSecond} requests a second`);
      }
      this.#take(decodeRequest(message));
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#pump();
  }

  /** The stream is over, whoever ended it: nothing is kept of it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stop of this.#stopListening) stop();
    for (const { deadline } of this.#channels.values()) clearTimeout(deadline);
    this.#leaveGate?.();
    this.#channels.clear();
  }

  /** Ends the stream in order: the client reconnects and is told only what it missed. */
  end(): void {
    if (this.#closed) return;
    this.close();
    this.#options.wire.end();
  }

  #take(request: DiscoveryRequest): void {
    if (request.client !== '') this.#client = request.client;
    const channel = this.#channelOf(request.type);
    if (channel === undefined) {
      this.#options.log.debug({ client: this.#client, type: request.type.slice(0, 200) }, 'not a type of ours');
      return;
    }
    const acknowledgement = channel.subscription.receive(request);
    if (acknowledgement !== 'None') this.#settle(channel);
    if (acknowledgement !== 'Nack') return;
    nacks.inc({ type: typeLabel(channel.store.type) });
    const fields = { client: this.#client, type: request.type, reason: request.refusal };
    this.#options.log.warn(fields, 'a client refused what it was told and keeps what it had');
  }

  #settle(channel: Channel): void {
    clearTimeout(channel.deadline);
    channel.deadline = undefined;
    if (channel.writtenSince === undefined) return;
    pushSeconds.observe({ type: typeLabel(channel.store.type) }, (this.#now() - channel.writtenSince) / 1000);
    channel.writtenSince = undefined;
  }

  #channelOf(type: string): Channel | undefined {
    const known = this.#channels.get(type);
    if (known !== undefined) return known;
    const store = this.#options.stores.find((store) => store.type === type);
    if (store === undefined) return undefined;
    const subscription = new Subscription(store);
    const channel: Channel = {
      store,
      subscription,
      owedSince: undefined,
      writtenSince: undefined,
      deadline: undefined,
    };
    this.#channels.set(type, channel);
    this.#stopListening.push(store.onChange((change) => this.#changed(channel, change)));
    return channel;
  }

  #changed(channel: Channel, change: StoreChange): void {
    channel.subscription.changed(change);
    channel.owedSince ??= this.#now();
    this.#pump();
  }

  /** Writes the next response when the last one has left; the types take turns. */
  #pump(): void {
    if (this.#writing || this.#closed) return;
    for (const [type, channel] of this.#channels) {
      const response = channel.subscription.next(String(this.#nonce + 1));
      if (response === undefined) {
        if (!channel.subscription.inFlight) channel.owedSince = undefined;
        continue;
      }
      this.#nonce++;
      this.#channels.delete(type);
      this.#channels.set(type, channel);
      channel.writtenSince = channel.owedSince;
      channel.owedSince = undefined;
      this.#write(channel, response);
      return;
    }
  }

  /** A large response is put together only when its turn has come: until then it is a list of shared resources. */
  #write(channel: Channel, response: Response): void {
    this.#writing = true;
    const size = response.resources.reduce((sum, { frame }) => sum + frame.length, 0);
    if (size <= largeResponseBytes) this.#send(channel, response);
    else this.#leaveGate = this.#options.gate.enter(() => this.#send(channel, response));
  }

  #send(channel: Channel, response: Response): void {
    const { type } = channel.store;
    const message = encodeResponse(response);
    pushes.inc({ type: typeLabel(type) });
    pushedBytes.inc({ type: typeLabel(type) }, message.length);
    const limitMs = this.#limits.acknowledgeMs;
    channel.deadline = setTimeout(() => this.#fail(silence(type, limitMs)), limitMs).unref();
    this.#options.wire.write(message, () => {
      this.#leaveGate?.();
      this.#leaveGate = undefined;
      this.#writing = false;
      this.#pump();
    });
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#options.log.warn({ client: this.#client, err: error }, 'a discovery stream was ended');
    const known = error instanceof TulleError;
    this.#options.wire.end(known ? error : new TulleError('XdsRequestInvalid', 'the request could not be handled'));
  }
}

function silence(type: TypeUrl, limitMs: number): TulleError {
  return new TulleError('XdsClientSilent', `no acknowledgement of ${typeLabel(type)} within ${limitMs / 1000} s`);
}
