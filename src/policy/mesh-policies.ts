import { systemNamespace } from '../api/names.ts';
import type { MeshSettings } from '../model/mesh.ts';
import type { Authorization } from './authorization.ts';

/**
 * `spec.mtls.mode: Strict` as a policy: whoever proved no identity is denied, everywhere. Connections out of the mesh
 * are not touched: policy is enforced where a connection arrives.
 */
export const strictMtls: Authorization = {
  name: 'strict-mtls',
  namespace: systemNamespace,
  scope: 'Mesh',
  action: 'Deny',
  dryRun: false,
  rules: [{ clauses: [{ matches: [{ principals: { anyOf: [], noneOf: [{ kind: 'Present' }] } }] }] }],
};

/** The policies that follow from the Mesh. */
export function meshPolicies(settings: Pick<MeshSettings, 'strictMtls'>): readonly Authorization[] {
  return settings.strictMtls ? [strictMtls] : [];
}
