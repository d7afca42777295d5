import type { MeshNodePod } from '../api/mesh-node.ts';

/** Pods by state. */
export interface Counts {
  secured: number;
  pending: number;
  failed: number;
}

export interface PodProblem {
  namespace: string;
  name: string;
  reason: string;
}

interface Share extends Counts {
  problems: PodProblem[];
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

  total(): Counts {
    return sum([...this.#shares.values()].flatMap((nodes) => [...nodes.values()]));
  }

  /** The first `limit` failed pods of the whole mesh. */
  firstProblems(limit: number): PodProblem[] {
    const found: PodProblem[] = [];
    for (const nodes of this.#shares.values()) {
      for (const { problems } of nodes.values()) {
        found.push(...problems.slice(0, limit - found.length));
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
  for (const { namespace, name, state, reason } of pods) {
    const share = shares.get(namespace) ?? { secured: 0, pending: 0, failed: 0, problems: [] };
    shares.set(namespace, share);
    if (state === 'Secured') share.secured += 1;
    else if (state === 'Pending') share.pending += 1;
    else {
      share.failed += 1;
      share.problems.push({ namespace, name, reason });
    }
  }
  return shares;
}

function sum(shares: Iterable<Counts>): Counts {
  const total = { secured: 0, pending: 0, failed: 0 };
  for (const { secured, pending, failed } of shares) {
    total.secured += secured;
    total.pending += pending;
    total.failed += failed;
  }
  return total;
}
