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
 * A Node that is made again under its old name is another one: it has no annotation, and the MeshNode of the one
 * before says nothing of it.
 */
import type { Mesh, MeshSpec } from '../api/mesh.ts';
import type { MeshNode } from '../api/mesh-node.ts';
import { annotations, startupTaint } from '../api/names.ts';
import { findCondition } from '../kube/conditions.ts';
import type { KubeObject, Node } from '../kube/objects.ts';
import { osLabel } from '../render/pod-parts.ts';

/** What a node waits for: one stable CamelCase word, and a sentence. */
export interface Wait {
  reason: string;
  message: string;
}

/** Waiting: it has the taint. Served: the annotation, and no taint. Open: neither. */
export type NodeState = { state: 'Open' } | { state: 'Served' } | ({ state: 'Waiting' } & Wait);

const open: NodeState = { state: 'Open' };
const served: NodeState = { state: 'Served' };

/**
 * What a Node should be. `spec` is that of a Mesh in effect; without one, a Mesh that is there changes nothing: no Node
 * is tainted for it, and those that wait go on waiting for their agents.
 */
export function nodeState(
  node: Node,
  meshNode: MeshNode | undefined,
  mesh: Mesh | undefined,
  spec: MeshSpec | undefined,
): NodeState {
  if (mesh === undefined || mesh.metadata.deletionTimestamp !== undefined || isForeign(node)) return open;
  if (hasServed(node)) return served;
  const joined = hasJoinedUnder(node, mesh);
  const wait = waitOf(node, meshNode);
  if (wait === undefined) return joined ? served : open;
  if (spec?.node.startupTaint === 'Off') return open;
  if (isTainted(node) || (joined && spec !== undefined)) return { state: 'Waiting', ...wait };
  return open;
}

export function isTainted({ spec }: Node): boolean {
  return spec?.taints?.some(({ key }) => key === startupTaint.key) ?? false;
}

export function hasServed({ metadata }: Node): boolean {
  return metadata.annotations?.[annotations.served] !== undefined;
}

/** Says that it runs something else than Linux. One that does not say yet may turn out to be for agents. */
function isForeign({ metadata }: Node): boolean {
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
    return { reason: 'AgentNotReported', message: 'tulle-agent has not reported from this node yet.' };
  }
  const ready = findCondition(status.conditions, 'Ready');
  if (ready?.status !== 'True') {
    const { reason = 'AgentNotReady', message = '' } = ready ?? {};
    return { reason, message: message || `tulle-agent says ${reason}.` };
  }
  if (status.proxy?.ready === true) return undefined;
  return { reason: 'ProxyNotReady', message: 'tulle-proxy is connected and does not serve yet.' };
}

function isOwnedBy(meshNode: KubeObject, node: Node): boolean {
  return meshNode.metadata.ownerReferences?.some(({ uid }) => uid === node.metadata.uid) ?? false;
}
