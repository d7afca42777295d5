import type { Mesh } from '../../api/mesh.ts';
import { annotations, meshFinalizer, startupTaint } from '../../api/names.ts';
import { done, type Outcome } from '../../kube/controller/reconciler.ts';
import { deleteObject, type MeshContext } from '../context.ts';
import { conditionFor } from '../mesh/acceptance.ts';
import { some } from '../mesh/rollout.ts';
import { report } from '../mesh/status.ts';
import { markedNodes } from './node.ts';

/**
 * The first step of taking a Mesh away: the policy that taints new Nodes goes, and then taint and annotation
 * from every Node, which is the node controller's work and awaited here. Undefined when that is done.
 */
export async function clearNodes(context: MeshContext, mesh: Mesh, signal: AbortSignal): Promise<Outcome | undefined> {
  if (!(mesh.metadata.finalizers ?? []).includes(meshFinalizer)) return undefined;
  const { caches } = context;
  for (const object of caches.owned.of(mesh.metadata.name)) {
    if (object.kind?.startsWith('MutatingAdmissionPolicy')) await deleteObject(context, object, signal);
  }
  const marked = markedNodes(caches.nodes.store.list()).map(({ metadata }) => metadata.name);
  if (marked.length === 0) return undefined;
  const message = `Taking the taint ${startupTaint.key} and the annotation ${annotations.served} from ${some(marked, 10)}.`;
  await report(context, mesh, { conditions: [conditionFor(mesh, 'Removing')('True', 'ClearingNodes', message)] });
  return done;
}
