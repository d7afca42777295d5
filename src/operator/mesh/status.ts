import type { Mesh } from '../../api/mesh.ts';
import { apiVersion } from '../../api/names.ts';
import { metaOf } from '../../kube/controller/resource-path.ts';
import type { StatusPart } from '../../kube/status.ts';
import type { OperatorContext } from '../context.ts';

/**
 * Writes what one controller says in the status of a Mesh: the mesh controller, with the generation it was decided from, or
 * another `writer`, whose part comes and goes apart from the others'.
 * @returns whether there was anything to write
 */
export async function reportMesh(
  { setResourceStatus }: Pick<OperatorContext, 'setResourceStatus'>,
  mesh: Mesh,
  part: Omit<StatusPart<Mesh>, 'observedGeneration'>,
  writer?: string,
): Promise<boolean> {
  const { generation } = mesh.metadata;
  const observed = writer === undefined && generation !== undefined ? { observedGeneration: generation } : {};
  const meta = metaOf(`meshes.${apiVersion}`, mesh);
  return (await setResourceStatus(meta, { ...observed, ...part }, writer)) !== null;
}
