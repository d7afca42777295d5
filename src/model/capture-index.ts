import { MultiMap } from './multi-map.ts';

const none: ReadonlySet<string> = new Set();

/**
 * Which pods nodes say they captured. A node is believed about its own pods only: a compromised one must not be able to
 * announce a tunnel, or take one away, for a pod that runs elsewhere.
 *
 * A node that says nothing any more (its MeshNode was deleted, or made anew) has not said that it let its pods go: rules
 * are still in them, and whoever may delete a MeshNode must not turn traffic to them into plaintext. Its last word holds,
 * for the pods that are there, until each one's end or the node's next word.
 */
export class CaptureIndex {
  readonly #uidsByNode = new Map<string, ReadonlySet<string>>();
  readonly #nodesByUid = new MultiMap<string, string>();
  /** Nodes whose last word is kept for them; each UID in it is that of a pod that is there. */
  readonly #silent = new Set<string>();

  /** What a node says now. Returns the UIDs about which its word changed. */
  replace(node: string, uids: ReadonlySet<string>): ReadonlySet<string> {
    this.#silent.delete(node);
    const previous = this.#uidsByNode.get(node) ?? none;
    this.#set(node, uids);
    return new Set([...previous, ...uids].filter((uid) => previous.has(uid) !== uids.has(uid)));
  }

  /** A node says nothing any more: its last word holds for the pods `isThere` knows. */
  fallSilent(node: string, isThere: (uid: string) => boolean): void {
    this.#set(node, new Set([...(this.#uidsByNode.get(node) ?? none)].filter(isThere)));
    if (this.#uidsByNode.has(node)) this.#silent.add(node);
  }

  /** A pod is not on a node any more. */
  forget(uid: string, node: string): void {
    if (!this.#silent.has(node)) return;
    const uids = new Set(this.#uidsByNode.get(node));
    if (!uids.delete(uid)) return;
    this.#set(node, uids);
    if (uids.size === 0) this.#silent.delete(node);
  }

  isCaptured(uid: string, node: string): boolean {
    return this.#nodesByUid.get(uid).has(node);
  }

  /** How many words are kept, of all nodes together. */
  get size(): number {
    return this.#uidsByNode.values().reduce((sum, { size }) => sum + size, 0);
  }

  #set(node: string, next: ReadonlySet<string>): void {
    for (const uid of this.#uidsByNode.get(node) ?? none) this.#nodesByUid.delete(uid, node);
    for (const uid of next) this.#nodesByUid.add(uid, node);
    if (next.size === 0) this.#uidsByNode.delete(node);
    else this.#uidsByNode.set(node, next);
  }
}
