/**
 * A Node: it has the startup taint while it waits for the mesh, and the annotation that it has served afterwards;
 * both as `nodeState` decides. The admission policy of `render/startup-taint.ts` taints Nodes as they are created; this is who
 * takes the taint away, and who taints a Node that came without it.
 */
import { annotations, components, fieldManagers, meshName, startupTaint, systemNamespace } from '../../api/names.ts';
import { ApiError, isConflict, isNotFound, type KubeClient } from '../../kube/client/client.ts';
import { done, isOfSpec, type Reconcile, type Source, source } from '../../kube/controller/reconciler.ts';
import type { EventRecorder } from '../../kube/events.ts';
import type { Node } from '../../kube/objects.ts';
import type { Caches } from '../caches.ts';
import type { OperatorContext } from '../context.ts';
import { accept } from '../mesh/acceptance.ts';
import { NodeAnnouncer } from './announcer.ts';
import { hasServed, isTainted, type NodeState, nodeState, startupTaintInForce } from './node-state.ts';

export function nodeSources({ meshes, meshNodes, nodes }: Caches): Source[] {
  return [
    source(nodes, ({ metadata }) => [metadata.name]),
    source(meshNodes, ({ metadata }) => [metadata.name]),
    source(meshes, ({ metadata }) => (metadata.name === meshName ? nodes.store.keys() : []), isOfSpec),
  ];
}

export function reconcileNode(context: OperatorContext): Reconcile {
  const { client, caches, events, release, log } = context;
  const announcer = new NodeAnnouncer(context);
  return async (key, signal) => {
    const node = caches.nodes.store.get(key);
    if (node === undefined) {
      announcer.forget(key);
      return done;
    }
    const mesh = caches.meshes.store.get(meshName);
    const hasAgents = caches.owned.get('DaemonSet', `${systemNamespace}/${components.agent}`) !== undefined;
    const taint = mesh && startupTaintInForce(mesh, accept(mesh, release).spec, hasAgents);
    const state = nodeState(node, caches.meshNodes.store.get(key), mesh, taint);
    const patch = nodePatch(node, state);
    if (patch !== undefined) {
      signal.throwIfAborted();
      await patchNode({ client, events }, node, patch);
      log.info({ node: key, ...state }, 'changed the taint of a node');
    }
    return announcer.announce(node, state);
  };
}

/**
 * Whoever refuses the write, an admission policy for one, keeps pods from the node, or a Mesh that is deleted from going: an Event on
 * the Node says who and why.
 * @throws ApiError
 */
export async function patchNode(
  { client, events }: { client: Pick<KubeClient, 'patch'>; events: Pick<EventRecorder, 'record'> },
  node: Node,
  patch: object,
): Promise<void> {
  const path = `/api/v1/nodes/${encodeURIComponent(node.metadata.name)}`;
  try {
    await client.patch(path, patch, { fieldManager: fieldManagers.operator });
  } catch (error) {
    if (error instanceof ApiError && !isConflict(error) && !isNotFound(error)) {
      const note =
        `The API server refuses to change the taint ${startupTaint.key} or the annotation ${annotations.served} of this node; ` +
        `both go from it before a Mesh that is deleted does. ${error.message}`;
      await events.record(node, { type: 'Warning', reason: 'NodeNotChanged', action: 'ChangeTaint', note });
    }
    throw error;
  }
}

/**
 * What makes the Node what its state asks for, undefined where it is so. A Node's taints are one list, replaced as a
 * whole: the version makes it fail (409) when anybody has changed the Node since. Taint and annotation go in one
 * write, so that a node which lost the taint is always known to have served.
 */
export function nodePatch(node: Node, { state }: NodeState): object | undefined {
  const isAsAsked = {
    Waiting: isTainted(node) && !isAnnotated(node),
    Served: !hasOurTaint(node) && hasServed(node),
    Open: !hasOurTaint(node) && !isAnnotated(node),
  };
  if (isAsAsked[state]) return undefined;
  const { uid = '', resourceVersion } = node.metadata;
  const others = (node.spec?.taints ?? []).filter(({ key }) => key !== startupTaint.key);
  return {
    metadata: { uid, resourceVersion, annotations: { [annotations.served]: state === 'Served' ? uid : null } },
    spec: { taints: state === 'Waiting' ? [...others, startupTaint] : others },
  };
}

/** Nodes that have our taint or our annotation, whatever they say. */
export function markedNodes(nodes: readonly Node[]): Node[] {
  return nodes.filter((node) => hasOurTaint(node) || isAnnotated(node));
}

function hasOurTaint({ spec }: Node): boolean {
  return spec?.taints?.some(({ key }) => key === startupTaint.key) ?? false;
}

function isAnnotated({ metadata }: Node): boolean {
  return metadata.annotations?.[annotations.served] !== undefined;
}
