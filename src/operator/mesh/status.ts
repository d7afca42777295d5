import { isDeepStrictEqual } from 'node:util';
import type { Mesh, MeshStatus } from '../../api/mesh.ts';
import { fieldManagers } from '../../api/names.ts';
import type { KubeClient } from '../../kube/client/client.ts';
import { firstDifference } from '../../kube/client/server-side-apply.ts';
import type { Clock } from '../../kube/clock.ts';
import { conditionsFor, conditionTime, findCondition, type Verdict } from '../../kube/conditions.ts';
import { isOfSpec } from '../../kube/controller/reconciler.ts';

/**
 * The part of a Mesh's status one controller writes. It must always give the same fields: what it leaves out, apply
 * takes away.
 */
export type StatusPart = Omit<Partial<MeshStatus>, 'conditions'> & { conditions: readonly Verdict[] };

/** Applies a part of the status where it is not so already, and says whether it wrote. */
export async function reportMesh(
  client: Pick<KubeClient, 'applyStatus'>,
  clock: Pick<Clock, 'now'>,
  mesh: Mesh,
  part: StatusPart,
  fieldManager: string,
): Promise<boolean> {
  const { conditions: verdicts, ...fields } = part;
  const conditions = conditionsFor(mesh.status?.conditions, verdicts, conditionTime(clock.now()));
  const same = conditions.every(
    (condition) => firstDifference(condition, findCondition(mesh.status?.conditions, condition.type)) === undefined,
  );
  if (same && firstDifference(fields, mesh.status ?? {}) === undefined) return false;
  const { apiVersion, kind, metadata } = mesh;
  const object = { apiVersion, kind, metadata: { name: metadata.name }, status: { ...fields, conditions } };
  await client.applyStatus(object, { fieldManager, force: true });
  return true;
}

/** The part of the mesh controller, with the generation it was decided from. */
export async function report(
  { client, clock }: { client: Pick<KubeClient, 'applyStatus'>; clock: Pick<Clock, 'now'> },
  mesh: Mesh,
  part: Omit<StatusPart, 'observedGeneration'>,
): Promise<void> {
  const { generation } = mesh.metadata;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  await reportMesh(client, clock, mesh, { ...observed, ...part }, fieldManagers.operator);
}

/**
 * Whether who reports in a Mesh has to look at it again: something else is asked for, or somebody took away what was there. What
 * is written into its status wakes nobody: it is written by us, or by those who report beside us.
 */
export function concernsReporters(before: Mesh, after: Mesh): boolean {
  const finalizers = ({ metadata }: Mesh) => metadata.finalizers ?? [];
  return (
    isOfSpec(before, after) ||
    !isDeepStrictEqual(finalizers(before), finalizers(after)) ||
    reportedIn(before).some((part) => !reportedIn(after).includes(part))
  );
}

/** Fields of the status, and types of conditions. */
function reportedIn({ status }: Mesh): string[] {
  return [...Object.keys(status ?? {}), ...(status?.conditions ?? []).map(({ type }) => type)];
}
