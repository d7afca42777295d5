/**
 * Whether a Node takes pods, from what is known of it:
 *
 *   created under the Mesh              CNI plugin and proxy serve
 *   ──────────────────────▶ Waiting ───────────────────────────────▶ Served (annotation)
 *                           (taint)                                    │ the agent restarts, the node reboots,
 *                              │ Off, Mesh deleted, not Linux          │ its MeshNode goes: it stays Served
 *                              ▼                                       │
 *   older than the Mesh ───▶ Open ◀────────── Mesh deleted ────────────┘
 *
 * A Node that is made again under its old name is another one: an annotation that it comes with (from a backup) has
 * another UID, and the MeshNode of the one before says nothing of it.
 */
import type { Mesh, MeshSpec } from '../../api/mesh.ts';
import type { MeshNode } from '../../api/mesh-node.ts';
import { annotations, startupTaint } from '../../api/names.ts';
import { findCondition } from '../../kube/conditions.ts';
import type { Node } from '../../kube/objects.ts';
import { isOwnedBy } from '../../kube/ownership.ts';
import { osLabel } from '../../render/pod-parts.ts';

/** What a node waits for: one stable CamelCase word, and a sentence. */
export interface Wait {
  reason: string;
  message: string;
}

/** Waiting: it has the taint. Served: the annotation, and no taint. Open: neither. */
export type NodeState = { state: 'Open' } | { state: 'Served' } | ({ state: 'Waiting' } & Wait);

const open: NodeState = { state: 'Open' };
const served: NodeState = { state: 'Served' };

export type StartupTaint = MeshSpec['node']['startupTaint'];

/**
 * The startupTaint in force; undefined when the Mesh has never taken effect, by which no Node is tainted. A Mesh that
 * cannot be used changes nothing of what runs: agents that are installed go on, and a node without one must wait. Then
 * only the word Off itself is read from its spec.
 */
export function startupTaintInForce(mesh: Mesh, accepted: MeshSpec | undefined, hasAgents: boolean) {
  if (accepted !== undefined) return accepted.node.startupTaint;
  if (!hasAgents) return undefined;
  const { node } = (mesh.spec ?? {}) as { node?: { startupTaint?: unknown } | null };
  return node?.startupTaint === 'Off' ? 'Off' : 'Auto';
}

/** What a Node should be under the Mesh. */
export function nodeState(
  node: Node,
  meshNode: MeshNode | undefined,
  mesh: Mesh | undefined,
  taint: StartupTaint | undefined,
): NodeState {
  if (mesh === undefined || mesh.metadata.deletionTimestamp !== undefined || isNotLinux(node)) return open;
  if (hasServed(node)) return served;
  const joined = hasJoinedUnder(node, mesh);
  const wait = waitOf(node, meshNode);
  if (wait === undefined) return joined ? served : open;
  if (taint === 'Off') return open;
  if (isTainted(node) || (joined && taint !== undefined)) return { state: 'Waiting', ...wait };
  return open;
}

/** Whether our taint keeps pods away: one of the same key may only prefer that. */
export function isTainted({ spec }: Node): boolean {
  const holds = ['NoSchedule', 'NoExecute'];
  return spec?.taints?.some(({ key, effect }) => key === startupTaint.key && holds.includes(effect ?? '')) ?? false;
}

export function hasServed({ metadata }: Node): boolean {
  return metadata.uid !== undefined && metadata.annotations?.[annotations.served] === metadata.uid;
}

/** One that does not say yet what it runs may turn out to be for agents. */
function isNotLinux({ metadata }: Node): boolean {
  const os = metadata.labels?.[osLabel];
  return os !== undefined && os !== 'linux';
}

/** Times of the API server have no fractions: what was made in the same second counts as joined. */
function hasJoinedUnder(node: Node, mesh: Mesh): boolean {
  const [joined = '', made = ''] = [node.metadata.creationTimestamp, mesh.metadata.creationTimestamp];
  return joined >= made;
}

/** What stands between this Node and its first pod; undefined when CNI plugin and proxy serve. */
function waitOf(node: Node, meshNode: MeshNode | undefined): Wait | undefined {
  if (node.metadata.labels?.[osLabel] === undefined) {
    const message = `The Node has no label ${osLabel} yet, so no agent is placed on it.`;
    return { reason: 'OperatingSystemUnknown', message };
  }
  if (meshNode !== undefined && !isOwnedBy(meshNode, node)) {
    const message =
      'The MeshNode is that of a Node of this name before, and stays while pods that it captured are there: ' +
      'drain the node, its enrolled DaemonSet pods too.';
    return { reason: 'MeshNodeOfEarlierNode', message };
  }
  const status = meshNode?.status;
  if (status?.agent === undefined) {
    return {
      reason: 'AgentNotReported',
      message: 'tulle-agent has not reported from this node yet: is its pod there running?',
    };
  }
  const ready = findCondition(status.conditions, 'Ready');
  if (ready?.status !== 'True') {
    const { reason = 'AgentNotReady', message = '' } = ready ?? {};
    return { reason, message: message || `tulle-agent says ${reason}: see its log.` };
  }
  if (status.proxy?.ready === true) return undefined;
  return { reason: 'ProxyNotReady', message: 'tulle-proxy is connected and does not serve yet: see its log.' };
}
