import type { Mesh } from '../../api/mesh.ts';
import { fieldManagers } from '../../api/names.ts';
import type { KubeClient } from '../../kube/client/client.ts';
import type { Clock } from '../../kube/clock.ts';
import { applyStatus, type StatusPart } from '../../kube/status.ts';

/** Writes the part of the mesh controller, with the generation it was decided from. */
export async function report(
  { client, clock }: { client: Pick<KubeClient, 'applyStatus'>; clock: Pick<Clock, 'now'> },
  mesh: Mesh,
  part: Omit<StatusPart<Mesh>, 'observedGeneration'>,
): Promise<void> {
  const { generation } = mesh.metadata;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  await applyStatus(client, clock, mesh, { ...observed, ...part }, fieldManagers.operator);
}
