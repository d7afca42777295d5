import { compactVerify, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose';
import { explain } from '../../errors/tulle-error.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../telemetry/log.ts';

export interface TokenKeysOptions {
  /** The keys with which the API server signs tokens of service accounts, now. */
  readonly read: () => Promise<JSONWebKeySet>;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
}

/** Whether a token is signed by a key of the API server; unknown while there are no keys to look with. */
export type Signature = 'good' | 'bad' | 'unknown';

/** How often the keys are read, ms. */
const refreshMs = 5 * 60_000;
/** Between two readings because of a token whose key is not among them, ms: anybody can make up such a token. */
const unknownKeyMs = 10_000;

/**
 * The keys of the API server (its JWKS), kept fresh. What they did not sign is a forgery, which costs nobody but this process
 * anything. Whether a token that they did sign is still good, only a TokenReview knows.
 */
export class TokenKeys {
  readonly #options: TokenKeysOptions;
  #keys: ReturnType<typeof createLocalJWKSet> | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #failure: string | undefined;

  constructor(options: TokenKeysOptions) {
    this.#options = options;
  }

  /** Why there are no keys to look with, undefined when there are. */
  get problem(): string | undefined {
    return this.#keys === undefined ? (this.#failure ?? 'they were not read yet') : undefined;
  }

  /** Reads the keys until the signal aborts; resolves then and never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#refresh();
      await this.#options.clock.sleep(this.#keys === undefined ? unknownKeyMs : refreshMs, signal);
    }
  }

  async check(token: string): Promise<Signature> {
    const first = await this.#look(token);
    if (first !== 'other key') return first;
    if (this.#options.clock.now() - this.#readAt >= unknownKeyMs) await this.#refresh();
    const second = await this.#look(token);
    if (second !== 'other key') return second;
    // Keys that cannot be read may have changed: a review tells, as where none was ever read.
    return this.#failure === undefined ? 'bad' : 'unknown';
  }

  async #look(token: string): Promise<Signature | 'other key'> {
    if (this.#keys === undefined) return 'unknown';
    try {
      await compactVerify(token, this.#keys);
      return 'good';
    } catch (error) {
      return error instanceof errors.JWKSNoMatchingKey ? 'other key' : 'bad';
    }
  }

  /** One reading at a time, shared by all who want it. */
  #refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const { read, clock, log } = this.#options;
    this.#readAt = clock.now();
    try {
      const keys = await read();
      if (keys.keys.length === 0) throw new Error('the API server tells of no key');
      this.#keys = createLocalJWKSet(keys);
      if (this.#failure !== undefined)
        log.info({ keys: keys.keys.length }, 'the keys of the API server are known again');
      this.#failure = undefined;
    } catch (error) {
      const failure = explain(error);
      if (failure !== this.#failure) log.warn({ err: error, hasKeys: this.#keys !== undefined }, unread);
      this.#failure = failure;
    }
  }
}

const unread =
  'the keys that sign tokens cannot be read: forged tokens are told by a TokenReview each, few at a time for each address. ' +
  'See whether tulle-control may get /openid/v1/jwks (ClusterRole system:service-account-issuer-discovery).';
