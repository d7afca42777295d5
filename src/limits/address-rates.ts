import { TokenBucket } from './token-bucket.ts';

/** So many at once, and so many a second after that. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** Addresses that are remembered at most; each is forgotten when its burst is whole again. */
const defaultMaxAddresses = 16_384;

/** Limits the rate of something for each address. */
export class AddressRates {
  readonly #rate: Rate;
  readonly #now: () => number;
  readonly #maxAddresses: number;
  /** The one that was used longest ago first. */
  readonly #buckets = new Map<string, { readonly bucket: TokenBucket; usedAt: number }>();

  /** @param now ms, never going back */
  constructor(
    rate: Rate,
    now: () => number = performance.now.bind(performance),
    maxAddresses: number = defaultMaxAddresses,
  ) {
    this.#rate = rate;
    this.#now = now;
    this.#maxAddresses = maxAddresses;
  }

  /** Whether one more of this address is within the rate. */
  spend(address: string): boolean {
    const now = this.#now();
    this.#forget(now);
    const { burst, perSecond } = this.#rate;
    const entry = this.#buckets.get(address) ?? { bucket: new TokenBucket(burst, perSecond, now), usedAt: now };
    entry.usedAt = now;
    this.#buckets.delete(address);
    this.#buckets.set(address, entry);
    return entry.bucket.spend(now);
  }

  /** Whether one more of this address would be within the rate. */
  has(address: string): boolean {
    return this.#buckets.get(address)?.bucket.has(this.#now()) ?? true;
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  #forget(now: number): void {
    const wholeAgainMs = (1000 * this.#rate.burst) / this.#rate.perSecond;
    for (const [address, { usedAt }] of this.#buckets) {
      if (usedAt + wholeAgainMs > now && this.#buckets.size < this.#maxAddresses) return;
      this.#buckets.delete(address);
    }
  }
}
