import { type Mesh, type MeshSpec, parseMeshSpec } from '../../api/mesh.ts';
import { notSupported } from '../../api/mesh-support.ts';
import { meshName } from '../../api/names.ts';
import type { DesiredCondition } from '../../kube/conditions.ts';
import type { Release } from '../../render/release.ts';

/** Whether a Mesh can take effect, and the condition that says so. */
export type Acceptance =
  | { spec: MeshSpec; condition: DesiredCondition }
  | { spec: undefined; condition: DesiredCondition };

/** The first reason that stands against it counts. */
export function accept(mesh: Mesh, release: Release): Acceptance {
  const refuse = (reason: string, message: string): Acceptance => ({
    spec: undefined,
    condition: accepted(mesh)('False', reason, message),
  });
  if (mesh.metadata.name !== meshName) {
    return refuse(
      'NotDefault',
      `Only the Mesh named ${meshName} takes effect. Move what you need into it and delete this one.`,
    );
  }
  const { spec, problems } = parseMeshSpec(mesh.spec);
  if (spec === undefined) {
    return refuse('MeshSpecInvalid', problems.map(({ field, message }) => `${field}: ${message}`).join('; '));
  }
  const unsupported = notSupported(spec, release.version);
  if (unsupported !== undefined) {
    const meanwhile = 'Until then nothing of the spec takes effect: what runs, runs on as before.';
    return refuse(unsupported.reason, `${unsupported.message} ${meanwhile}`);
  }
  return { spec, condition: accepted(mesh)('True', 'Accepted', 'The spec is in effect.') };
}

/** A condition decided from the Mesh's present generation. */
export function conditionFor(mesh: Mesh, type: string) {
  return (status: DesiredCondition['status'], reason: string, message: string): DesiredCondition => ({
    type,
    status,
    reason,
    message,
    ...(mesh.metadata.generation === undefined ? {} : { observedGeneration: mesh.metadata.generation }),
  });
}

function accepted(mesh: Mesh) {
  return conditionFor(mesh, 'Accepted');
}
