import { type Mesh, type MeshSpec, parseMeshSpec } from '../api/mesh.ts';
import { notSupported } from '../api/mesh-support.ts';

/** What of the Mesh takes effect, for proxies and for the authority. */
export interface MeshInForce {
  readonly spec: MeshSpec;
  /** That of the spec, but for a Mesh that is being deleted. */
  readonly strictMtls: boolean;
}

/** What is in force after a Mesh was read, and why that is not this Mesh. */
export interface MeshDecision {
  readonly inForce: MeshInForce | undefined;
  readonly problem?: string;
}

/**
 * A Mesh that cannot be used, or is of another version, changes nothing: going from Strict to Permissive by mistake would open
 * pods. The first may be of another version, for a replica that starts while such a Mesh is there must serve. One that is being
 * deleted is Permissive: as nodes let their pods go, those speak plaintext to pods that are not let go yet.
 * @param version of Tulle that this replica is
 */
export function meshDecision(mesh: Mesh, before: MeshInForce | undefined, version: string): MeshDecision {
  const read = readSpec(mesh, before, version);
  const isLeaving = mesh.metadata.deletionTimestamp !== undefined;
  if (typeof read !== 'string') {
    return { inForce: { spec: read, strictMtls: !isLeaving && read.mtls.mode === 'Strict' } };
  }
  return { inForce: isLeaving && before !== undefined ? { ...before, strictMtls: false } : before, problem: read };
}

/** The spec, or why it does not take effect. */
function readSpec(mesh: Mesh, before: MeshInForce | undefined, version: string): MeshSpec | string {
  const { spec, problems } = parseMeshSpec(mesh.spec);
  if (spec === undefined) return `it cannot be used: ${problems.join('; ')}`;
  const unsupported = notSupported(spec, version);
  return unsupported === undefined || before === undefined ? spec : unsupported.message;
}
