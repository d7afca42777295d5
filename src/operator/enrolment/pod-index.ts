import type { MeshNodePod } from '../../api/mesh-node.ts';

/** Pods by state. */
export interface Counts {
  secured: number;
  pending: number;
  failed: number;
  optedOut: number;
}

export interface PodName {
  namespace: string;
  name: string;
}

export interface PodProblem extends PodName {
  reason: string;
}

interface Share extends Counts {
  problems: PodProblem[];
  /** Pods that opted out. */
  outside: PodName[];
}

/**
 * What all nodes together report, by namespace, kept as each node's report comes in: asking for a namespace does not
 * look at every pod of the mesh.
 */
export class EnrolmentIndex {
  /** namespace → node → what that node has of it. */
  readonly #shares = new Map<string, Map<string, Share>>();
  readonly #namespacesOf = new Map<string, Set<string>>();

  /** Takes over the pods `node` reports now. */
  set(node: string, pods: readonly MeshNodePod[]): void {
    const shares = sharesOf(pods);
    for (const namespace of this.#namespacesOf.get(node) ?? []) {
      if (!shares.has(namespace)) this.#forget(namespace, node);
    }
    for (const [namespace, share] of shares) {
      const nodes = this.#shares.get(namespace) ?? new Map<string, Share>();
      nodes.set(node, share);
      this.#shares.set(namespace, nodes);
    }
    if (shares.size === 0) this.#namespacesOf.delete(node);
    else this.#namespacesOf.set(node, new Set(shares.keys()));
  }

  counts(namespace: string): Counts {
    return sum(this.#shares.get(namespace)?.values() ?? []);
  }

  /** Pods of this namespace that failed to enrol. */
  problems(namespace: string): PodProblem[] {
    return [...(this.#shares.get(namespace)?.values() ?? [])].flatMap(({ problems }) => problems);
  }

  /** Pods of this namespace that left by their own label. */
  optedOut(namespace: string): PodName[] {
    return [...(this.#shares.get(namespace)?.values() ?? [])].flatMap(({ outside }) => outside);
  }

  total(): Counts {
    return sum([...this.#shares.values()].flatMap((nodes) => [...nodes.values()]));
  }

  /** The first `limit` failed pods of the whole mesh. */
  firstProblems(limit: number): PodProblem[] {
    return this.#first(limit, ({ problems }) => problems);
  }

  /** The first `limit` pods of the whole mesh that opted out. */
  firstOptedOut(limit: number): PodName[] {
    return this.#first(limit, ({ outside }) => outside);
  }

  #first<T>(limit: number, partOf: (share: Share) => readonly T[]): T[] {
    const found: T[] = [];
    for (const nodes of this.#shares.values()) {
      for (const share of nodes.values()) {
        found.push(...partOf(share).slice(0, limit - found.length));
        if (found.length >= limit) return found;
      }
    }
    return found;
  }

  #forget(namespace: string, node: string): void {
    const nodes = this.#shares.get(namespace);
    nodes?.delete(node);
    if (nodes?.size === 0) this.#shares.delete(namespace);
  }
}

function sharesOf(pods: readonly MeshNodePod[]): Map<string, Share> {
  const shares = new Map<string, Share>();
  for (const pod of pods) {
    const share = shares.get(pod.namespace) ?? { ...none, problems: [], outside: [] };
    shares.set(pod.namespace, share);
    count(share, pod);
  }
  return shares;
}

function count(share: Share, { namespace, name, state, reason }: MeshNodePod): void {
  switch (state) {
    case 'Secured':
      share.secured += 1;
      break;
    case 'Pending':
      share.pending += 1;
      break;
    case 'Failed':
      share.failed += 1;
      share.problems.push({ namespace, name, reason });
      break;
    case 'OptedOut':
      share.optedOut += 1;
      share.outside.push({ namespace, name });
  }
}

const none: Counts = { secured: 0, pending: 0, failed: 0, optedOut: 0 };

function sum(shares: Iterable<Counts>): Counts {
  const total = { ...none };
  for (const { secured, pending, failed, optedOut } of shares) {
    total.secured += secured;
    total.pending += pending;
    total.failed += failed;
    total.optedOut += optedOut;
  }
  return total;
}
