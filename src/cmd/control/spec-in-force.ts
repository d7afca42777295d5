import { type Mesh, type MeshSpec, parseMeshSpec } from '../../api/mesh.ts';
import { notSupported } from '../../api/mesh-support.ts';
import type { Reflector } from '../../kube/reflector.ts';

/**
 * Resolves with the first Mesh that can be used, to a function that gives the spec in force from then on: that of the last Mesh
 * that could be used. One that cannot, or none, changes nothing; the first may be of another version: a replica that starts while
 * such a Mesh is there must serve. Call before `meshes` starts; it parses once for each change.
 * @param version of Tulle that this replica is
 */
export function specInForce(meshes: Pick<Reflector<Mesh>, 'onEvent'>, version: string): Promise<() => MeshSpec> {
  const first = Promise.withResolvers<() => MeshSpec>();
  let inForce: { spec: MeshSpec } | undefined;
  meshes.onEvent(({ type, object }) => {
    const { spec } = type === 'deleted' ? {} : parseMeshSpec(object.spec);
    if (spec === undefined || (inForce !== undefined && notSupported(spec, version) !== undefined)) return;
    const current = inForce ?? { spec };
    current.spec = spec;
    inForce = current;
    first.resolve(() => current.spec);
  });
  return first.promise;
}
