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
import { apiVersion, components, fieldManagers, meshName, meshNodeFinalizer } from '../../api/names.ts';
import type { OnEvent } from '../../kube/controller/object-events.ts';
import { done, isOfSpec, type Reconcile, Requeue, type Source, source } from '../../kube/controller/reconciler.ts';
import type { EventNote } from '../../kube/events.ts';
import type { KubeObject, Manifest, Pod } from '../../kube/objects.ts';
import { isOwnedBy } from '../../kube/ownership.ts';
import { selectorLabels } from '../../render/ownership.ts';
import { isForAgents } from '../../render/pod-parts.ts';
import type { Caches } from '../caches.ts';
import { deleteObject, type OperatorContext } from '../context.ts';

/**
 * How soon to look again whether captured pods have ended, which nothing here watches, ms: of a MeshNode that somebody deleted, and
 * of others. Each look is a list of the node's pods, for as long as the MeshNode is kept; where there is an agent it says so first.
 */
const LOOK_AGAIN_MS = { deleted: 10_000, ofNoUse: 60_000 };

/** What a MeshNode is kept for. */
export function meshNodeSources({ meshes, meshNodes, nodes }: Caches): Source[] {
  return [
    source(nodes, ({ metadata }) => [metadata.name]),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? meshNodes.store.keys() : []), isOfSpec),
  ];
}

export function onMeshNode(context: OperatorContext): OnEvent {
  const { caches } = context;
  return async (event, signal) => {
    const { name } = event.meta;
    const meshNode = caches.meshNodes.store.get(name);
    const mesh = caches.meshes.store.get(meshName);
    // While the Mesh is being removed, its removal alone decides about MeshNodes.
    if (meshNode === undefined || mesh?.metadata.deletionTimestamp !== undefined) return;
    const node = mesh === undefined ? undefined : caches.nodes.store.get(name);
    const isOfUse = isOwnedBy(meshNode, node) && !isForNobody(meshNode, node);
    const isDeleted = meshNode.metadata.deletionTimestamp !== undefined;
    const isKept = !isDeleted && !isOfUse && (await hasCapturedPods(context, meshNode));
    const waitForPods = async () => {
      if (!(await hasCapturedPods(context, meshNode))) return;
      await context.events.record(meshNode, stays);
      throw new Requeue(LOOK_AGAIN_MS.deleted);
    };
    if (isDeleted || isOfUse || isKept) {
      // Somebody may have taken the finalizer off, and Kubernetes deletes what belongs to a Node that is gone.
      await context.handleResourceFinalizer(event, meshNodeFinalizer, waitForPods);
      if (isKept) throw new Requeue(LOOK_AGAIN_MS.ofNoUse);
      return;
    }
    await deleteObject(context, meshNode, signal);
  };
}

/** Nodes, where a MeshNode may be missing. */
export function newMeshNodeSources({ meshes, meshNodes, nodes }: Caches): Source[] {
  return [
    source(nodes, ({ metadata }) => [metadata.name]),
    source(meshNodes, ({ metadata }) => [metadata.name], isOfSpec),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? nodes.store.keys() : []), isOfSpec),
  ];
}

export function createMeshNode({ client, caches }: OperatorContext): Reconcile {
  return async (key, signal) => {
    const mesh = caches.meshes.store.get(meshName);
    const node = caches.nodes.store.get(key);
    if (mesh === undefined || mesh.metadata.deletionTimestamp !== undefined) return done;
    if (node === undefined || node.metadata.deletionTimestamp !== undefined || !isForAgents(node)) return done;
    if (caches.meshNodes.store.get(key) !== undefined) return done;
    signal.throwIfAborted();
    await client.apply(meshNodeFor(node), { fieldManager: fieldManagers.operator, force: true });
    return done;
  };
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

async function hasCapturedPods({ client }: Pick<OperatorContext, 'client'>, meshNode: MeshNode): Promise<boolean> {
  if (!hasCaptured(meshNode)) return false;
  const fieldSelector = `spec.nodeName=${meshNode.metadata.name}`;
  return isCapturedLeft(meshNode, await client.listAll<Pod>('/api/v1/pods', { fieldSelector }));
}

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
