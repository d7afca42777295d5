import { labels, modes, neverEnrolledNamespaces } from '../api/names.ts';
import type { ObjectMeta } from '../kube/objects.ts';

/**
 * Who is in the mesh by labels. Agents decide the same (`dataplane/agent/src/enrol/decision.rs`); both are held to the cases of
 * `test/cases/membership.json`.
 */

/** What the label of a Namespace or a Pod says. */
export type Mode = (typeof modes)[keyof typeof modes];

/** Undefined for no label, and for a value that means nothing. */
export function modeOf({ labels: found }: Pick<ObjectMeta, 'labels'>): Mode | undefined {
  const value = found?.[labels.mode];
  return Object.values(modes).find((mode) => mode === value);
}

/** Whether the pods of a namespace are in the mesh, as far as the namespace decides. */
export function isMemberNamespace(metadata: Pick<ObjectMeta, 'name' | 'labels'>): boolean {
  return modeOf(metadata) === modes.ambient && !neverEnrolledNamespaces.includes(metadata.name);
}

/** What decides about a pod besides its namespace. */
export interface Candidate {
  readonly namespace: string;
  /** Of its own label. */
  readonly mode: Mode | undefined;
  /** Undefined when it has none: it has no identity then. */
  readonly serviceAccount: string | undefined;
  readonly hostNetwork: boolean;
}

/** Whether a pod is in the mesh. Its own label decides before its namespace's. */
export function isMember(pod: Candidate, isNamespaceMember: boolean): boolean {
  const isAsked = pod.mode === undefined ? isNamespaceMember : pod.mode === modes.ambient;
  const canBe =
    !pod.hostNetwork && pod.serviceAccount !== undefined && !neverEnrolledNamespaces.includes(pod.namespace);
  return isAsked && canBe;
}
