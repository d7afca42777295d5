import type { IpText } from './ip.ts';
import { MultiMap } from './multi-map.ts';
import type { PodFacts } from './pod-facts.ts';

/**
 * Which pods are at an address, and which one an address means.
 *
 * An address is owned by at most one pod, the newest that has it: when an address is reused before the API server knows
 * that its last pod is gone, both have it for a moment. Host-network pods are at their node's address and never own it.
 */
export class AddressIndex {
  readonly #pods = new MultiMap<IpText, PodFacts>();

  replace(previous: PodFacts | undefined, next: PodFacts | undefined): void {
    for (const ip of previous?.ips ?? []) if (previous !== undefined) this.#pods.delete(ip, previous);
    for (const ip of next?.ips ?? []) if (next !== undefined) this.#pods.add(ip, next);
  }

  podsAt(ip: IpText): ReadonlySet<PodFacts> {
    return this.#pods.get(ip);
  }

  owner(ip: IpText): PodFacts | undefined {
    let newest: PodFacts | undefined;
    for (const pod of this.#pods.get(ip)) {
      if (!pod.hostNetwork && (newest === undefined || isNewer(pod, newest))) newest = pod;
    }
    return newest;
  }

  /** The addresses at which `pod` can be reached, in the pod's order. */
  addressesOf(pod: PodFacts): IpText[] {
    return pod.hostNetwork ? [...pod.ips] : pod.ips.filter((ip) => this.owner(ip) === pod);
  }
}

/** The UID settles it between pods created in the same second, so that the answer does not depend on who came first. */
function isNewer(a: PodFacts, b: PodFacts): boolean {
  return a.created === b.created ? a.uid > b.uid : a.created > b.created;
}
