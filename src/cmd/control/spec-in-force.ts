import { type Mesh, type MeshSpec, parseMeshSpec } from '../../api/mesh.ts';
import type { Reflector } from '../../kube/reflector.ts';

/**
 * Resolves with the first Mesh that can be used, to a function that gives the spec in force from then on: that of the last Mesh
 * that could be used. One that cannot, or none, changes nothing. Call before `meshes` starts; it parses once for each change.
 */
export function specInForce(meshes: Pick<Reflector<Mesh>, 'onEvent'>): Promise<() => MeshSpec> {
  const first = Promise.withResolvers<() => MeshSpec>();
  let inForce: { spec: MeshSpec } | undefined;
  meshes.onEvent(({ type, object }) => {
    const { spec } = type === 'deleted' ? {} : parseMeshSpec(object.spec);
    if (spec === undefined) return;
    const current = inForce ?? { spec };
    current.spec = spec;
    inForce = current;
    first.resolve(() => current.spec);
  });
  return first.promise;
}
