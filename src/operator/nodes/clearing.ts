import type { Mesh } from '../../api/mesh.ts';
import { annotations, startupTaint } from '../../api/names.ts';
import { Requeue } from '../../kube/controller/reconciler.ts';
import { deleteObject, type OperatorContext } from '../context.ts';
import { conditionFor } from '../mesh/acceptance.ts';
import { some } from '../mesh/rollout.ts';
import { reportMesh } from '../mesh/status.ts';
import { markedNodes } from './node.ts';

/**
 * The first step of taking a Mesh away: the policy that taints new Nodes goes, and then taint and annotation
 * from every Node, which is the node controller's work and awaited here.
 * @throws Requeue while it is not done
 */
export async function clearNodes(context: OperatorContext, mesh: Mesh, signal: AbortSignal): Promise<void> {
  const { caches } = context;
  for (const object of caches.owned.of(mesh.metadata.name)) {
    if (object.kind?.startsWith('MutatingAdmissionPolicy')) await deleteObject(context, object, signal);
  }
  const marked = markedNodes(caches.nodes.store.list()).map(({ metadata }) => metadata.name);
  if (marked.length === 0) return;
  const message = `Taking the taint ${startupTaint.key} and the annotation ${annotations.served} from ${some(marked, 10)}.`;
  await reportMesh(context, mesh, { conditions: [conditionFor(mesh, 'Removing')('True', 'ClearingNodes', message)] });
  throw new Requeue();
}
