/**
 * A MeshNode for each Node that agents run on, owned by it, while there is a Mesh that takes effect; its status is the
 * agent's alone, and the one place where every control replica reads which pods are captured. So it outlives its
 * deletion (ADR 11), with its status readable and writable:
 *
 *   (none) ── a Node, a Mesh ──▶ HELD ── deleted by anybody, or of no use ──▶ KEPT ──▶ (none)
 *                             finalizer on                                 finalizer off when no
 *                                                                        captured pod is there
 */
import type { MeshNode } from '../../api/mesh-node.ts';
import { apiVersion, components, fieldManagers, meshName, meshNodeFinalizer, meshNodesPath } from '../../api/names.ts';
import {
  done,
  isOfSpec,
  type Outcome,
  type Reconcile,
  requeueAfter,
  type Source,
  source,
} from '../../kube/controller/reconciler.ts';
import type { EventNote, EventRecorder } from '../../kube/events.ts';
import { setFinalizers, withFinalizer, withoutFinalizer } from '../../kube/finalizers.ts';
import type { KubeObject, Manifest, Pod } from '../../kube/objects.ts';
import { isOwnedBy } from '../../kube/ownership.ts';
import { selectorLabels } from '../../render/ownership.ts';
import { isForAgents } from '../../render/pod-parts.ts';
import type { Caches } from '../caches.ts';
import { deleteObject, type MeshContext } from '../context.ts';

export interface MeshNodeContext extends MeshContext {
  events: Pick<EventRecorder, 'record'>;
}

/**
 * How soon to look again whether captured pods have ended, which nothing here watches, ms: of a MeshNode that somebody deleted, and
 * of others. Each look is a list of the node's pods, for as long as the MeshNode is kept; where there is an agent it says so first.
 */
const LOOK_AGAIN_MS = { deleted: 10_000, ofNoUse: 60_000 };

export function meshNodeSources({ meshes, meshNodes, nodes }: Caches): Source[] {
  const allNodes = () => [...nodes.store.keys(), ...meshNodes.store.keys()];
  return [
    source(nodes, ({ metadata }) => [metadata.name]),
    source(meshNodes, ({ metadata }) => [metadata.name]),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? allNodes() : []), isOfSpec),
  ];
}

export function reconcileMeshNode(context: MeshNodeContext): Reconcile {
  const { client, caches } = context;
  return async (key, signal) => {
    const mesh = caches.meshes.store.get(meshName);
    // While the Mesh is being removed, its removal alone decides about MeshNodes.
    if (mesh?.metadata.deletionTimestamp !== undefined) return done;
    const node = mesh === undefined ? undefined : caches.nodes.store.get(key);
    const meshNode = caches.meshNodes.store.get(key);
    if (meshNode !== undefined) return keepOrLetGo(context, meshNode, node, signal);
    if (node === undefined || node.metadata.deletionTimestamp !== undefined || !isForAgents(node)) return done;
    signal.throwIfAborted();
    await client.apply(meshNodeFor(node), { fieldManager: fieldManagers.operator, force: true });
    return done;
  };
}

async function keepOrLetGo(
  context: MeshNodeContext,
  meshNode: MeshNode,
  node: KubeObject | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  const { client, events } = context;
  const isDeleted = meshNode.metadata.deletionTimestamp !== undefined;
  const setTo = async (finalizers: readonly string[]) => {
    signal.throwIfAborted();
    await setFinalizers(client, pathOf(meshNode), meshNode, finalizers, fieldManagers.operator);
  };
  if (!isDeleted && isOwnedBy(meshNode, node) && !isForNobody(meshNode, node)) {
    await setTo(withFinalizer(meshNode, meshNodeFinalizer));
    return done;
  }
  const fieldSelector = `spec.nodeName=${meshNode.metadata.name}`;
  const pods = hasCaptured(meshNode) ? await client.listAll<Pod>('/api/v1/pods', { fieldSelector }) : [];
  if (isCapturedLeft(meshNode, pods)) {
    // Somebody may have taken the finalizer off, and Kubernetes deletes what belongs to a Node that is gone.
    if (isDeleted) await events.record(meshNode, stays);
    else await setTo(withFinalizer(meshNode, meshNodeFinalizer));
    return requeueAfter(isDeleted ? LOOK_AGAIN_MS.deleted : LOOK_AGAIN_MS.ofNoUse);
  }
  if (isDeleted) await setTo(withoutFinalizer(meshNode, meshNodeFinalizer));
  else await deleteObject(context, meshNode, signal);
  return done;
}

const stays: EventNote = {
  type: 'Warning',
  reason: 'CapturedPods',
  action: 'Keep',
  note:
    'It was deleted while its node has captured pods, and stays until they have ended or left the mesh: without it, peers ' +
    'would be told to send them plaintext. The mesh works on meanwhile. To have it made anew, drain the node, ' +
    'its enrolled DaemonSet pods too.',
};

/** Whether one of these pods of the node is still there, and was captured by its node's last word. */
export function isCapturedLeft({ status }: MeshNode, pods: readonly Pod[]): boolean {
  const running = pods.filter((pod) => pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed');
  const uids = new Set(running.map(({ metadata }) => metadata.uid));
  return status?.pods?.some(({ uid, captured }) => captured && uids.has(uid)) ?? false;
}

function hasCaptured({ status }: MeshNode): boolean {
  return status?.pods?.some(({ captured }) => captured) ?? false;
}

/** Where an agent has been, its word is kept, whatever the Node's labels say now. */
function isForNobody({ status }: MeshNode, node: KubeObject | undefined): boolean {
  return status?.agent === undefined && node !== undefined && !isForAgents(node);
}

function meshNodeFor({ metadata }: KubeObject): Manifest {
  const { name, uid = '' } = metadata;
  return {
    apiVersion,
    kind: 'MeshNode',
    metadata: {
      name,
      labels: selectorLabels(components.agent),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid }],
      finalizers: [meshNodeFinalizer],
    },
  };
}

/** The REST path of a MeshNode. */
function pathOf({ metadata }: KubeObject): string {
  return `${meshNodesPath}/${metadata.name}`;
}
