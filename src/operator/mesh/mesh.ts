/**
 * The Mesh: what it stands for is applied, what it no longer stands for is deleted, and its status says how far that
 * is. A Mesh that cannot take effect changes nothing: what runs, runs on.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Mesh, MeshSpec } from '../../api/mesh.ts';
import type { MeshNode } from '../../api/mesh-node.ts';
import { components, fieldManagers, meshFinalizer, meshName, systemNamespace } from '../../api/names.ts';
import { applyIfChanged } from '../../kube/client/server-side-apply.ts';
import type { OnEvent } from '../../kube/controller/object-events.ts';
import { isOfSpec, type Source, source } from '../../kube/controller/reconciler.ts';
import { type KubeObject, type Node, objectKey, type Service } from '../../kube/objects.ts';
import { renderMesh } from '../../render/mesh-objects.ts';
import { appliedHashAnnotation, meshLabel } from '../../render/ownership.ts';
import type { Caches } from '../caches.ts';
import { deleteObject, type OperatorContext } from '../context.ts';
import { clearNodes } from '../nodes/clearing.ts';
import { type Acceptance, accept, conditionFor } from './acceptance.ts';
import { removeMesh } from './removal.ts';
import { daemonSetProgress, deploymentProgress, type Progress, type Rollout, readiness } from './rollout.ts';
import { reportMesh } from './status.ts';

/** What a Mesh stands for, and what its status and its removal wait for. */
export function meshSources({ meshNodes, nodes, owned }: Caches): Source[] {
  return [
    source(meshNodes, () => [meshName], saysOtherwise),
    source(nodes, () => [meshName], isMarkedOtherwise),
    ...owned.reflectors.map(({ reflector }) =>
      source(reflector, ({ metadata }) => [metadata.labels?.[meshLabel] ?? meshName]),
    ),
  ];
}

/** What the Mesh says of a node; its pods are counted elsewhere. */
function saysOtherwise(
  { metadata: before, status: then }: MeshNode,
  { metadata: after, status: now }: MeshNode,
): boolean {
  const of = (status: MeshNode['status']) => status?.conditions;
  return isOfSpec({ metadata: before }, { metadata: after }) || !isDeepStrictEqual(of(then), of(now));
}

/** The marks of ours that a removal takes away, and what the agents' DaemonSet selects by. */
function isMarkedOtherwise(before: Node, after: Node): boolean {
  const of = ({ metadata, spec }: Node) => [metadata.uid, metadata.labels, metadata.annotations, spec?.taints];
  return !isDeepStrictEqual(of(before), of(after));
}

export function onMesh(context: OperatorContext): OnEvent {
  return async (event, signal) => {
    const mesh = context.caches.meshes.store.get(event.meta.name);
    if (mesh === undefined) return;
    const acceptance = accept(mesh, context.release);
    if (mesh.metadata.name !== meshName) {
      await reportMesh(context, mesh, { conditions: [acceptance.condition] });
      return;
    }
    const remove = async () => {
      await clearNodes(context, mesh, signal);
      await removeMesh(context, mesh, signal);
    };
    if (await context.handleResourceFinalizer(event, meshFinalizer, remove)) return;
    await keepMesh(context, mesh, acceptance, signal);
  };
}

async function keepMesh(
  context: OperatorContext,
  mesh: Mesh,
  acceptance: Acceptance,
  signal: AbortSignal,
): Promise<void> {
  const failure = acceptance.spec === undefined ? undefined : await tryApply(context, mesh, acceptance.spec, signal);
  const rollout = rolloutOf(context.caches);
  const { ready, reason, message } = readiness(rollout, context.caches.meshNodes.store.list());
  const condition = conditionFor(mesh, 'Ready');
  await reportMesh(context, mesh, {
    conditions: [
      acceptance.condition,
      failure === undefined
        ? condition(ready ? 'True' : 'False', reason, message)
        : condition('False', 'ApplyFailed', String(failure)),
    ],
    rollout: { control: counts(rollout.control), agent: counts(rollout.agent), proxy: counts(rollout.proxy) },
  });
  if (failure !== undefined) throw failure;
}

/** What kept an object from being applied or pruned, if anything did: reported first, thrown then. */
async function tryApply(context: OperatorContext, mesh: Mesh, spec: MeshSpec, signal: AbortSignal): Promise<unknown> {
  try {
    await applyMesh(context, mesh, spec, signal);
    return undefined;
  } catch (error) {
    return error;
  }
}

async function applyMesh(context: OperatorContext, mesh: Mesh, spec: MeshSpec, signal: AbortSignal): Promise<void> {
  const { client, caches, release, features, log } = context;
  const { name } = mesh.metadata;
  const controlAddresses = addressesOf(caches.owned.get<Service>('Service', key(components.control)));
  const objects = renderMesh(spec, { release, features, controlAddresses }, name);
  const options = { client, fieldManager: fieldManagers.operator, hashAnnotation: appliedHashAnnotation };
  for (const object of objects) {
    signal.throwIfAborted();
    // Written twice, proxies would be replaced at once: they wait for the pass that knows where control is.
    if (controlAddresses.length === 0 && object.metadata.name === components.proxy && object.kind === 'DaemonSet')
      continue;
    if (await applyIfChanged(object, caches.owned.find(object), options)) {
      log.info({ kind: object.kind, object: objectKey(object) }, 'applied');
    }
  }
  const rendered = new Set(objects.map(identity));
  for (const object of caches.owned.of(name)) {
    if (!rendered.has(identity(object))) await deleteObject(context, object, signal);
  }
}

function addressesOf(service: Service | undefined): string[] {
  return service?.spec?.clusterIPs ?? [];
}

function key(name: string): string {
  return `${systemNamespace}/${name}`;
}

function rolloutOf({ owned }: Caches): Rollout {
  return {
    control: deploymentProgress(owned.get('Deployment', key(components.control))),
    agent: daemonSetProgress(owned.get('DaemonSet', key(components.agent))),
    proxy: daemonSetProgress(owned.get('DaemonSet', key(components.proxy))),
  };
}

function counts({ ready, desired }: Progress) {
  return { ready, desired };
}

function identity({ kind, ...object }: KubeObject): string {
  return `${kind} ${objectKey(object)}`;
}
