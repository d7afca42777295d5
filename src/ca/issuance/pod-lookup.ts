/** What an identity decision needs to know of a pod. */
export interface PodRecord {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Undefined when it has none, as a mirror pod: it has no identity then. */
  readonly serviceAccount: string | undefined;
  /** The node it is bound to, undefined before it is scheduled. */
  readonly node: string | undefined;
  readonly phase: string;
  readonly hostNetwork: boolean;
}

/**
 * Pods as they are now. Both questions may be answered from a watched copy; `fresh` asks for an answer of the API server itself,
 * and comes after the copy did not have what was looked for: a pod that starts is often asked about before its event is here.
 */
export interface PodLookup {
  podByName(namespace: string, name: string, options?: { readonly fresh?: boolean }): Promise<PodRecord | undefined>;
  podsOnNode(node: string, options?: { readonly fresh?: boolean }): Promise<readonly PodRecord[]>;
}

/** Whether a pod has, or will have, running containers: one that ended keeps its object and loses its identity. */
export function isLive(pod: PodRecord): boolean {
  return pod.phase !== 'Succeeded' && pod.phase !== 'Failed';
}
