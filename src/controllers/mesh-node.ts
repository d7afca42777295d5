/**
 * A MeshNode for each Node that agents run on, owned by it, while there is a Mesh that takes effect; its status is the
 * agent's alone.
 */

import type { MeshNode } from '../api/mesh-node.ts';
import { apiVersion, components, fieldManagers, meshName } from '../api/names.ts';
import type { KubeObject, Manifest } from '../kube/objects.ts';
import { selectorLabels } from '../render/ownership.ts';
import { isForAgents } from '../render/pod-parts.ts';
import { done, type Reconcile, type Source, source } from '../runtime/reconciler.ts';
import type { Caches } from './caches.ts';
import { deleteObject, type MeshContext } from './context.ts';

export function meshNodeSources({ meshes, meshNodes, nodes }: Caches): Source[] {
  const allNodes = () => [...nodes.store.keys(), ...meshNodes.store.keys()];
  return [
    source(nodes, ({ metadata }) => [metadata.name]),
    source(meshNodes, ({ metadata }) => [metadata.name]),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? allNodes() : [])),
  ];
}

export function reconcileMeshNode(context: MeshContext): Reconcile {
  const { client, caches } = context;
  return async (key, signal) => {
    const mesh = caches.meshes.store.get(meshName);
    // While the Mesh is being removed, its removal alone decides about MeshNodes.
    if (mesh?.metadata.deletionTimestamp !== undefined) return done;
    const node = mesh === undefined ? undefined : caches.nodes.store.get(key);
    const meshNode = caches.meshNodes.store.get(key);
    if (meshNode !== undefined && (!isOwnedBy(meshNode, node) || isForNobody(meshNode, node))) {
      await deleteObject(context, meshNode, signal);
      return done;
    }
    if (node === undefined || meshNode !== undefined || node.metadata.deletionTimestamp !== undefined) return done;
    if (!isForAgents(node)) return done;
    signal.throwIfAborted();
    await client.apply(meshNodeFor(node), { fieldManager: fieldManagers.operator, force: true });
    return done;
  };
}

/** A Node that was deleted and made again under its old name is another one. */
function isOwnedBy(meshNode: KubeObject, node: KubeObject | undefined): boolean {
  return meshNode.metadata.ownerReferences?.some(({ uid }) => uid === node?.metadata.uid) ?? false;
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
    },
  };
}
