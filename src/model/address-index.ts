import type { IpText } from './ip.ts';
import { MultiMap } from './multi-map.ts';
import type { PodFacts } from './pod-facts.ts';

/**
 * Which pods are at an address, and which one an address means.
 *
 * An address is owned by at most one pod. When it is reused before the API server knows that its last pod is gone, both
 * have it for a moment: the newer one owns it. But where addresses are handed out by node, a pod on the node that the
 * address belongs to comes first: a compromised node can say of its own pods that they have any address, and must not get
 * what is meant for others. Host-network pods are at their node's address and never own it.
 */
export class AddressIndex {
  readonly #pods = new MultiMap<IpText, PodFacts>();
  readonly #belongs: (ip: IpText, node: string) => boolean;

  /** @param belongs whether an address is in a range of the node's own */
  constructor(belongs: (ip: IpText, node: string) => boolean) {
    this.#belongs = belongs;
  }

  replace(previous: PodFacts | undefined, next: PodFacts | undefined): void {
    for (const ip of previous?.ips ?? []) if (previous !== undefined) this.#pods.delete(ip, previous);
    for (const ip of next?.ips ?? []) if (next !== undefined) this.#pods.add(ip, next);
  }

  podsAt(ip: IpText): ReadonlySet<PodFacts> {
    return this.#pods.get(ip);
  }

  owner(ip: IpText): PodFacts | undefined {
    let owner: PodFacts | undefined;
    for (const pod of this.#pods.get(ip)) {
      if (!pod.hostNetwork && (owner === undefined || this.#precedes(pod, owner, ip))) owner = pod;
    }
    return owner;
  }

  /** The addresses at which `pod` can be reached, in the pod's order. */
  addressesOf(pod: PodFacts): IpText[] {
    return pod.hostNetwork ? [...pod.ips] : pod.ips.filter((ip) => this.owner(ip) === pod);
  }

  /** The UID settles it between pods created in the same second, so that the answer does not depend on who came first. */
  #precedes(a: PodFacts, b: PodFacts, ip: IpText): boolean {
    const atHome = this.#belongs(ip, a.node);
    if (atHome !== this.#belongs(ip, b.node)) return atHome;
    return a.created === b.created ? a.uid > b.uid : a.created > b.created;
  }
}
