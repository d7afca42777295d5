import type { IpText } from './ip.ts';
import { MultiMap } from './multi-map.ts';
import type { SliceFacts } from './slice-facts.ts';

/** EndpointSlices by key, by service and by the addresses in them. */
export class SliceIndex {
  readonly #slices = new Map<string, SliceFacts>();
  readonly #byService = new MultiMap<string, SliceFacts>();
  readonly #byAddress = new MultiMap<IpText, SliceFacts>();

  /** Returns the addresses whose endpoints may have changed. */
  replace(key: string, next: SliceFacts | undefined): ReadonlySet<IpText> {
    const previous = this.#slices.get(key);
    if (previous !== undefined) {
      this.#byService.delete(previous.serviceKey, previous);
      for (const ip of previous.endpoints.keys()) this.#byAddress.delete(ip, previous);
      this.#slices.delete(key);
    }
    if (next !== undefined) {
      this.#slices.set(key, next);
      this.#byService.add(next.serviceKey, next);
      for (const ip of next.endpoints.keys()) this.#byAddress.add(ip, next);
    }
    return changedAddresses(previous, next);
  }

  get(key: string): SliceFacts | undefined {
    return this.#slices.get(key);
  }

  all(): Iterable<SliceFacts> {
    return this.#slices.values();
  }

  ofService(serviceKey: string): ReadonlySet<SliceFacts> {
    return this.#byService.get(serviceKey);
  }

  at(ip: IpText): ReadonlySet<SliceFacts> {
    return this.#byAddress.get(ip);
  }
}

function changedAddresses(previous: SliceFacts | undefined, next: SliceFacts | undefined): Set<IpText> {
  const all = new Set([...(previous?.endpoints.keys() ?? []), ...(next?.endpoints.keys() ?? [])]);
  if (previous === undefined || next === undefined || !sameFrame(previous, next)) return all;
  return new Set([...all].filter((ip) => !sameJson(previous.endpoints.get(ip), next.endpoints.get(ip))));
}

/** Service and ports, which count for all endpoints of a slice. */
function sameFrame(a: SliceFacts, b: SliceFacts): boolean {
  return a.serviceKey === b.serviceKey && sameJson([...a.targetPorts], [...b.targetPorts]);
}

function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
