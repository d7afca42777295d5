/**
 * Taking a Mesh away, so that traffic flows on as it did before there was one:
 *
 *   nodes released ──► workloads deleted ──► their pods gone ──► everything else deleted ──► finalizer off
 *
 * 1. Each node's agent, seeing the Mesh deleted, takes its pods out and removes what it put on the node, and says
 *    Released. Until the last one has, agents (and what they need) and proxies stay.
 * 2. The authority's Secret goes only after control's pods: a control that still runs would miss it.
 * Each pass does what can be done now; it may be cut short anywhere and the next pass goes on.
 */
import { type Mesh, parseMeshSpec } from '../../api/mesh.ts';
import type { MeshNode } from '../../api/mesh-node.ts';
import {
  authoritySecretName,
  components,
  fieldManagers,
  managedBy,
  meshNodeFinalizer,
  meshNodesPath,
  ownedLabels,
  peersToldName,
  systemNamespace,
  trustBundle,
} from '../../api/names.ts';
import { applyIfChanged } from '../../kube/client/server-side-apply.ts';
import { findCondition } from '../../kube/conditions.ts';
import { Requeue } from '../../kube/controller/reconciler.ts';
import { setFinalizers, withoutFinalizer } from '../../kube/finalizers.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { renderAccess } from '../../render/access.ts';
import { renderAdmission } from '../../render/admission.ts';
import { renderAgent } from '../../render/agent.ts';
import { appliedHashAnnotation, meshLabel } from '../../render/ownership.ts';
import { isForAgents } from '../../render/pod-parts.ts';
import { deleteObject, type OperatorContext } from '../context.ts';
import { conditionFor } from './acceptance.ts';
import { some } from './rollout.ts';
import { reportMesh } from './status.ts';

/** How soon to look again for what no watch of ours reports, ms. */
const LOOK_AGAIN_MS = 1_000;

/** What has pods or EndpointSlices below it, which Kubernetes takes away a while after. */
const workloadKinds = new Set(['Deployment', 'DaemonSet', 'Service', 'PodDisruptionBudget']);

/** @throws Requeue while something is left */
export async function removeMesh(context: OperatorContext, mesh: Mesh, signal: AbortSignal): Promise<void> {
  const say = (reason: string, message: string) =>
    reportMesh(context, mesh, { conditions: [conditionFor(mesh, 'Removing')('True', reason, message)] });

  const awaited = awaitedNodes(context.caches);
  if (awaited.length > 0) {
    await say('ReleasingNodes', releasing(awaited));
    await keepAgents(context, mesh, signal);
    throw new Requeue();
  }
  const workloads = ownedBy(context, mesh).filter(({ kind }) => workloadKinds.has(kind ?? ''));
  for (const workload of workloads) await deleteObject(context, workload, signal);
  const pods = await podsLeft(context, mesh);
  if (workloads.length > 0 || pods.length > 0) {
    await say('StoppingWorkloads', `Waiting for the end of ${some([...workloads, ...pods].map(title), 5)}.`);
    throw new Requeue(LOOK_AGAIN_MS);
  }
  const rest = await deleteRest(context, mesh, signal);
  if (rest.length > 0) {
    await say('DeletingObjects', `Deleting ${some(rest.map(title), 5)}.`);
    throw new Requeue(LOOK_AGAIN_MS);
  }
  context.log.info({ mesh: mesh.metadata.name }, 'nothing of the Mesh is left');
}

/** The part of the caches that knows of nodes. */
export interface NodeCaches {
  meshNodes: { store: { list(): MeshNode[] } };
  nodes: { store: { get(name: string): KubeObject | undefined } };
  owned: { get(kind: string, key: string): KubeObject | undefined };
}

/**
 * Nodes that have not said Released. A node that is gone is not waited for, nor is one whose MeshNode is gone (its
 * finalizer keeps it while pods are captured there); nor is one that never had an agent, when there is no agent now, or none is meant to run there.
 */
export function awaitedNodes({ meshNodes, nodes, owned }: NodeCaches): MeshNode[] {
  const agents = owned.get('DaemonSet', `${systemNamespace}/${components.agent}`) !== undefined;
  return meshNodes.store.list().filter(({ metadata, status }) => {
    const node = nodes.store.get(metadata.name);
    if (node === undefined) return false;
    if (status?.agent === undefined && !(agents && isForAgents(node))) return false;
    return findCondition(status?.conditions, 'Released')?.status !== 'True';
  });
}

function releasing(awaited: readonly MeshNode[]): string {
  const nodes = awaited.map(({ metadata, status }) => {
    const released = findCondition(status?.conditions, 'Released');
    return released?.message ? `${metadata.name} (${released.message})` : metadata.name;
  });
  return (
    `Waiting until the agents have released ${some(nodes.sort(), 10)}. ` +
    'To go on without a node that will not come back, delete its Node; or its MeshNode, and take the finalizer ' +
    `${meshNodeFinalizer} off that.`
  );
}

/**
 * Somebody may have deleted the agents, or their rights, before the Mesh: without them no node would ever be
 * released.
 */
async function keepAgents(context: OperatorContext, mesh: Mesh, signal: AbortSignal): Promise<void> {
  const { client, caches, release } = context;
  const { spec } = parseMeshSpec(mesh.spec);
  if (spec === undefined) return;
  const { name } = mesh.metadata;
  const options = { client, fieldManager: fieldManagers.operator, hashAnnotation: appliedHashAnnotation };
  for (const object of [...renderAccess(name), ...renderAdmission(name), ...renderAgent(spec, release, name)]) {
    signal.throwIfAborted();
    if (caches.owned.find(object) === undefined) await applyIfChanged(object, undefined, options);
  }
}

async function podsLeft({ client }: OperatorContext, mesh: Mesh): Promise<KubeObject[]> {
  const labelSelector = `${meshLabel}=${mesh.metadata.name}`;
  return client.listAll(`/api/v1/namespaces/${systemNamespace}/pods`, { labelSelector });
}

/** Deletes everything that is left and returns what was there. */
async function deleteRest(context: OperatorContext, mesh: Mesh, signal: AbortSignal): Promise<KubeObject[]> {
  const { client, caches } = context;
  const bundles = caches.bundles.store.list().filter(isOurs);
  const objects = [...bundles, ...caches.meshNodes.store.list(), ...ownedBy(context, mesh)];
  for (const object of objects) await deleteObject(context, object, signal);
  for (const meshNode of caches.meshNodes.store.list()) await letGo(context, meshNode, signal);
  const system = `/api/v1/namespaces/${systemNamespace}`;
  await client.deleteIfThere(`${system}/secrets/${authoritySecretName}`);
  await client.deleteIfThere(`${system}/configmaps/${peersToldName}`);
  await client.deleteIfThere(`/apis/coordination.k8s.io/v1/namespaces/${systemNamespace}/leases/${components.control}`);
  return objects;
}

/** No node holds a captured pod any more, or nobody waits for it: what its MeshNode says is of no use to anybody. */
async function letGo({ client }: OperatorContext, meshNode: MeshNode, signal: AbortSignal): Promise<void> {
  if (meshNode.metadata.deletionTimestamp === undefined) return; // its deletion, as it is seen, brings us back
  signal.throwIfAborted();
  const finalizers = withoutFinalizer(meshNode, meshNodeFinalizer);
  await setFinalizers(
    client,
    `${meshNodesPath}/${meshNode.metadata.name}`,
    meshNode,
    finalizers,
    fieldManagers.operator,
  );
}

function isOurs({ metadata }: KubeObject): boolean {
  if (metadata.name !== trustBundle.configMapName) return false;
  return metadata.namespace === systemNamespace || metadata.labels?.[ownedLabels.managedBy] === managedBy;
}

function ownedBy({ caches }: OperatorContext, mesh: Mesh): KubeObject[] {
  return caches.owned.of(mesh.metadata.name);
}

function title({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
}
