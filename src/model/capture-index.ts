import { MultiMap } from './multi-map.ts';

const none: ReadonlySet<string> = new Set();

/**
 * Which pods nodes say they captured. A node is believed about its own pods only: a compromised one must not be able to
 * announce a tunnel, or take one away, for a pod that runs elsewhere.
 */
export class CaptureIndex {
  readonly #uidsByNode = new Map<string, ReadonlySet<string>>();
  readonly #nodesByUid = new MultiMap<string, string>();

  /** What a node says now; undefined when it says nothing any more. Returns the UIDs about which its word changed. */
  replace(node: string, uids: ReadonlySet<string> | undefined): ReadonlySet<string> {
    const previous = this.#uidsByNode.get(node) ?? none;
    const next = uids ?? none;
    for (const uid of previous) this.#nodesByUid.delete(uid, node);
    for (const uid of next) this.#nodesByUid.add(uid, node);
    if (next.size === 0) this.#uidsByNode.delete(node);
    else this.#uidsByNode.set(node, next);
    return new Set([...previous, ...next].filter((uid) => previous.has(uid) !== next.has(uid)));
  }

  isCaptured(uid: string, node: string): boolean {
    return this.#nodesByUid.get(uid).has(node);
  }
}
